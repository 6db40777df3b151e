"""OpenAI's API, and whatever speaks it: texts, pictures, speech.

Source: platform.openai.com/docs/api-reference (chat, images, audio), as its clients use it.
"""

import base64
import binascii
from typing import Any

import msgspec

from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError, TroubleError
from batuta.workers.media.provider.ask import PICTURE_BYTES_MAX, Target, ask, ask_file
from batuta.workers.media.source import image_bytes, keep, stored, url_of

TEMPERATURE = 0.7  # as the flow builder's own backend asks
CHAT_S, IMAGE_S, SPEECH_S = 180.0, 300.0, 120.0  # for a whole answer
SPEECH_MODEL, SPEECH_VOICE = "tts-1", "alloy"
SPEECH_CHARACTERS_MAX = 4_096  # of one request
VOICES = frozenset(
    {"alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer"}
)
_REASONING = ("o1", "o3", "o4", "gpt-5")  # models that refuse another temperature than theirs
_EXTENSIONS = {"image/jpeg": "jpg", "image/webp": "webp"}


def is_there(services: Services) -> bool:
    """Tell whether OpenAI can be asked: with a key, or at an address that may need none."""
    return bool(services.ai.openai_key or services.ai.openai_base_url)


async def chat(services: Services, *, prompt: str, system: str, model: str) -> str:
    """Have a model answer a prompt.

    Raises:
        NodeError: It cannot be asked, or refuses. TroubleError: It may pass.
    """
    said = [{"role": "system", "content": system}] if system else []
    name = plain_model(model)
    body: dict[str, Any] = {"model": name, "messages": [*said, {"role": "user", "content": prompt}]}
    if not name.startswith(_REASONING):
        body["temperature"] = TEMPERATURE
    target = _target(services, "texts")
    answer = await ask(target, "POST", "/chat/completions", body=body, wait_s=CHAT_S)
    match answer:
        case {"choices": [{"message": {"content": str(text)}}, *_]}:
            return text
        case {"choices": [{"message": {"content": list(parts)}}, *_]}:
            return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
        case {"choices": [{"message": {"refusal": str(why)}}, *_]}:
            raise NodeError(f"OpenAI refuses: {why[:500]}")
        case _:
            raise TroubleError("OpenAI's answer has no choices[0].message.content")


async def draw(
    services: Services, *, prompt: str, model: str, size: str, workflow_id: str = ""
) -> str:
    """Have a picture made; return its URL.

    Raises:
        NodeError: It cannot be asked, or refuses. TroubleError: It may pass.
    """
    model = plain_model(model)
    body: dict[str, Any] = {"model": model, "prompt": prompt, "size": size, "n": 1}
    if model.startswith("dall-e"):
        body["response_format"] = "b64_json"  # their URLs are gone after an hour
    target = _target(services, "pictures")
    return await _asked(services, target, "/images/generations", workflow_id, body=body)


async def edit_image(
    services: Services, *, image_url: str, prompt: str, model: str, workflow_id: str = ""
) -> str:
    """Have a picture changed; return the URL of the new one.

    Raises:
        NodeError: It cannot be asked, or refuses; there is no picture at the URL.
        TroubleError: It may pass.
    """
    import aiohttp

    target = _target(services, "pictures")
    raw, media_type = await image_bytes(services, image_url)
    media_type = media_type if media_type.startswith("image/") else "image/png"
    model = plain_model(model)
    form = aiohttp.FormData()
    form.add_field("model", model)
    form.add_field("prompt", prompt)
    form.add_field("n", "1")
    if model.startswith("dall-e"):
        form.add_field("response_format", "b64_json")
    name = f"image.{_EXTENSIONS.get(media_type, 'png')}"
    form.add_field("image", raw, filename=name, content_type=media_type)
    return await _asked(services, target, "/images/edits", workflow_id, form=form)


async def speak(
    services: Services, *, text: str, voice: str, model: str = SPEECH_MODEL, workflow_id: str = ""
) -> str:
    """Have a text spoken; return the URL of the sound. An unknown voice is SPEECH_VOICE.

    Raises:
        NodeError: It cannot be asked, or refuses. TroubleError: It may pass.
    """
    if len(text) > SPEECH_CHARACTERS_MAX:
        raise NodeError(
            f"text has {len(text):,} characters; OpenAI speaks {SPEECH_CHARACTERS_MAX:,} at once"
        )
    body = {
        "model": plain_model(model),
        "input": text,
        "voice": voice if voice in VOICES else SPEECH_VOICE,
        "response_format": "mp3",
    }
    file = await ask_file(
        _target(services, "speech"),
        "/audio/speech",
        body=body,
        services=services,
        media_type="audio/mpeg",
        workflow_id=workflow_id,
        wait_s=SPEECH_S,
    )
    return url_of(services, file)


def plain_model(model: str) -> str:
    """Return a model's name as OpenAI knows it: without ``openai/``."""
    return model.removeprefix("openai/")


def _target(services: Services, what: str) -> Target:
    ai = services.ai
    if not is_there(services):
        raise NodeError(
            f"OPENAI_API_KEY is not set, and OpenAI is asked for {what}; set it, or "
            "BATUTA_AI=fake for results that are made up"
        )
    headers = {"Authorization": f"Bearer {ai.openai_key}"} if ai.openai_key else {}
    return Target(name="OpenAI", url=ai.openai_url, headers=headers, secrets=(ai.openai_key,))


async def _asked(
    services: Services, target: Target, path: str, workflow_id: str, **sent: Any
) -> str:
    """Ask for a picture, and return its URL."""
    answer = await ask(target, "POST", path, wait_s=IMAGE_S, bytes_max=PICTURE_BYTES_MAX, **sent)
    return await _picture(services, answer, workflow_id)


async def _picture(services: Services, answer: Any, workflow_id: str) -> str:
    match answer:
        case {"data": [{"b64_json": str(text)}, *_]} if text:
            try:
                raw = base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise TroubleError("OpenAI's answer has b64_json that is no base64") from None
            kind = image_type(raw)
            if kind is None:
                raise TroubleError("OpenAI's answer has b64_json that is no picture")
            return url_of(services, await keep(services, raw, kind, workflow_id=workflow_id))
        case {"data": [{"url": str(url)}, *_]} if url:
            return await stored(services, url, workflow_id=workflow_id)
        case _:
            text = msgspec.json.encode(answer).decode()[:200]
            raise TroubleError(f"OpenAI's answer has no picture: {text}")


def image_type(raw: bytes) -> str | None:
    """Return the media type of a picture by its first bytes; None when it is none that we know."""
    if raw.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if raw.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if raw.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "image/webp" if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP" else None
