"""Making things, by whoever the operator has chosen: a provider, or nobody. For any worker.

Each is a plain coroutine that returns texts and URLs, never the thing itself. Those that a provider
queues return ``Waiting`` until they are done, and are to be called again with its ``state``.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError, TroubleError, Waiting, plain
from batuta.workers.media.provider import fake, fal, openai, service
from batuta.workers.media.source import as_sent, checked

IMAGE_MODEL, OPENAI_IMAGE_MODEL = "fal-ai/z-image/turbo", "gpt-image-1-mini"
FILM_MODEL = "fal-ai/ltxv-13b-098-distilled"
ANIMATE_MODEL = f"{FILM_MODEL}/image-to-video"
NO_IMAGE = "No input image provided"
FPS = 24
# How often a queue is asked: every 2 s for two minutes, then every 6 s; 10 minutes, 30 minutes.
IMAGE_ASKS_MAX, FILM_ASKS_MAX = 140, 340
_FAL_SIZES = {"16:9": "landscape_16_9", "9:16": "portrait_16_9"}
_OF_OPENAI = ("openai/", "gpt-image", "dall-e", "tts-", "gpt-4o-mini-tts")


async def write_text(services: Services, *, prompt: str, system: str = "", model: str) -> str:
    """Have a text written.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    if services.ai.is_fake:
        return fake.made_text(prompt, system, model)
    return await openai.chat(services, prompt=prompt, system=system, model=model)


async def draw_image(
    services: Services,
    *,
    prompt: str,
    model: str = "",
    provider: str = "fal",
    ratio: str = "16:9",
    size: str = "1024x1024",
    state: Mapping[str, Any] | None = None,
    workflow_id: str = "",
) -> str | Waiting:
    """Have a picture drawn; return its URL.

    Args:
        provider: fal or openai; a model of OpenAI's means openai.
        size: Of OpenAI's picture; fal's goes by the ratio.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    if provider not in ("fal", "openai"):
        raise NodeError(f"provider is {provider[:40]!r}; allowed is fal or openai")
    if services.ai.is_fake:
        return await fake.made_image(services, prompt, model, ratio=ratio, workflow_id=workflow_id)
    if provider == "openai" or model.startswith(_OF_OPENAI):
        model = model if model and not model.startswith("fal-ai/") else OPENAI_IMAGE_MODEL
        return await openai.draw(
            services, prompt=prompt, model=model, size=size, workflow_id=workflow_id
        )
    body = {
        "prompt": prompt,
        "image_size": _FAL_SIZES.get(ratio, "square"),
        "num_inference_steps": 4,
        "num_images": 1,
    }
    return await fal.queued(
        services,
        model or IMAGE_MODEL,
        body,
        state or {},
        kind="image",
        asks_max=IMAGE_ASKS_MAX,
        workflow_id=workflow_id,
    )


async def edit_image(
    services: Services,
    *,
    image_url: str,
    prompt: str,
    model: str = OPENAI_IMAGE_MODEL,
    state: Mapping[str, Any] | None = None,
    workflow_id: str = "",
) -> str | Waiting:
    """Have a picture changed as a prompt says; return the URL of the new one.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    image_url = given_image(image_url)
    if services.ai.is_fake:
        return await fake.made_image(services, prompt, model, image_url, workflow_id=workflow_id)
    if not model.startswith("fal-ai/"):
        return await openai.edit_image(
            services, image_url=image_url, prompt=prompt, model=model, workflow_id=workflow_id
        )
    path = model if model.endswith("/image-to-image") else f"{model}/image-to-image"
    body = {} if state else {"prompt": prompt, "image_url": await as_sent(services, image_url)}
    return await fal.queued(
        services,
        path,
        body,
        state or {},
        kind="image",
        asks_max=IMAGE_ASKS_MAX,
        workflow_id=workflow_id,
    )


async def make_video(
    services: Services,
    *,
    prompt: str,
    seconds: float = 5.0,
    model: str = "",
    image_url: str = "",
    state: Mapping[str, Any] | None = None,
    workflow_id: str = "",
) -> str | Waiting:
    """Have a film made, of a picture where one is given; return its URL.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    if services.ai.is_fake:
        return await fake.made_film(
            services, prompt, model, seconds=seconds, image_url=image_url, workflow_id=workflow_id
        )
    body: dict[str, Any] = {}
    if not state:
        body = {"prompt": prompt, "num_frames": round(seconds * FPS)}
        if image_url:
            body["image_url"] = await as_sent(services, image_url)
    return await fal.queued(
        services,
        model or (ANIMATE_MODEL if image_url else FILM_MODEL),
        body,
        state or {},
        kind="video",
        asks_max=FILM_ASKS_MAX,
        workflow_id=workflow_id,
    )


async def make_music(
    services: Services, *, prompt: str, seconds: float, model: str, workflow_id: str = ""
) -> str:
    """Have music made; return its URL.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    if services.ai.is_fake:
        return await fake.made_sound(
            services, prompt, model, seconds=seconds, workflow_id=workflow_id
        )
    body = {"prompt": prompt, "seconds_total": plain(seconds)}
    return await fal.run(services, model, body, kind="audio", workflow_id=workflow_id)


async def speak(
    services: Services, *, text: str, voice: str, model: str, workflow_id: str = ""
) -> str:
    """Have a text spoken, by fal, and where that fails by OpenAI; return the URL of the sound.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    if services.ai.is_fake:
        return await fake.made_sound(
            services, text, voice, model, seconds=fake.spoken_s(text), workflow_id=workflow_id
        )
    if model.startswith(_OF_OPENAI):
        return await openai.speak(
            services, text=text, voice=voice, model=model, workflow_id=workflow_id
        )
    if not fal.is_there(services) and openai.is_there(services):
        return await openai.speak(services, text=text, voice=voice, workflow_id=workflow_id)
    try:
        body = {_words_key(model): text, "voice": voice}
        return await fal.run(services, model, body, kind="audio", workflow_id=workflow_id)
    except (NodeError, TroubleError):
        if not openai.is_there(services):
            raise
        return await openai.speak(services, text=text, voice=voice, workflow_id=workflow_id)


async def ask_service(
    services: Services,
    node: str,
    config: Mapping[str, Any],
    previous: Sequence[Any] = (),
    *,
    workflow_id: str = "",
) -> dict[str, Any]:
    """Have the operator's service do a node; return its output.

    Raises:
        NodeError: No retry can help. TroubleError: One may.
    """
    if services.ai.is_fake:
        return await fake.made_service(services, node, config, workflow_id=workflow_id)
    return await service.ask_service(services, node, config, previous, workflow_id=workflow_id)


def given_image(url: Any) -> str:
    """Return the URL of a picture that a node cannot do without.

    Raises:
        NodeError: There is none.
    """
    if not url:
        raise NodeError(NO_IMAGE)
    return checked(url, "imageUrl")


def _words_key(model: str) -> str:
    """Return what a model of fal's calls the words that it speaks."""
    if "playht" in model:
        return "input"
    return "prompt" if "kokoro" in model else "text"
