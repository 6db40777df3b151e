"""What each node type does with one config; the output has the keys that the type names."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from batuta.workers.media import make
from batuta.workers.media.call import Call, NodeError, Waiting, plain
from batuta.workers.media.cutting import clip_merger, edit_video
from batuta.workers.media.nodes import NODE_TYPES
from batuta.workers.media.source import checked, stored
from batuta.workers.media.split import SEGMENTS_MAX, described, split_text

FILES_MAX = 1_000  # of one node
SPOKEN_SHOWN = 100  # characters of what was spoken, in the output

Output = dict[str, Any]
Do = Callable[[Call], Awaitable[Output | Waiting]]


async def _upload_files(call: Call) -> Output:
    given = call.value("files") or []
    listed = given if isinstance(given, list) else [given]
    if len(listed) > FILES_MAX:
        raise NodeError(f"{len(listed)} files are given; {FILES_MAX} at most are taken")
    files = []
    for index, one in enumerate(listed):
        held: Mapping[str, Any] = one if isinstance(one, Mapping) else {"url": one}
        url = checked(held.get("url"), f"files[{index}].url")
        kept = await stored(call.services, url, workflow_id=call.workflow_id)
        name = held.get("name") or kept.rpartition("/")[2][:200]
        files.append({"id": f"file_{index}", "name": name, "url": kept})
    return {"files": files, "totalFiles": len(files)}


async def _text_to_text(call: Call) -> Output:
    model = call.text("model")
    text = await make.write_text(
        call.services, prompt=call.text("prompt"), system=call.text("systemPrompt"), model=model
    )
    return {"text": text, "model": model, "tokens": len(text)}


async def _text_to_image(call: Call) -> Output | Waiting:
    prompt, ratio = call.text("prompt"), call.text("aspectRatio")
    found = await make.draw_image(
        call.services,
        prompt=prompt,
        model=str(call.config.get("model") or ""),
        provider=call.text("provider").lower(),
        ratio=ratio,
        size=call.text("size"),
        state=call.state,
        workflow_id=call.workflow_id,
    )
    return _with("imageUrl", found, prompt=prompt, aspectRatio=ratio)


async def _text_to_video(call: Call) -> Output | Waiting:
    prompt, seconds = call.text("prompt"), call.seconds("duration")
    found = await make.make_video(
        call.services,
        prompt=prompt,
        seconds=seconds,
        model=call.text("model"),
        state=call.state,
        workflow_id=call.workflow_id,
    )
    return _with("videoUrl", found, prompt=prompt, duration=plain(seconds))


async def _image_to_video(call: Call) -> Output | Waiting:
    image_url, seconds = await _image(call), call.seconds("duration")
    found = await make.make_video(
        call.services,
        prompt=call.text("prompt"),
        seconds=seconds,
        model=call.text("model"),
        image_url=image_url,
        state=call.state,
        workflow_id=call.workflow_id,
    )
    return _with(
        "videoUrl", _keeping(found, image_url), sourceImage=image_url, duration=plain(seconds)
    )


async def _image_to_image(call: Call) -> Output | Waiting:
    image_url = await _image(call)
    found = await make.edit_image(
        call.services,
        image_url=image_url,
        prompt=call.text("prompt"),
        model=call.text("model"),
        state=call.state,
        workflow_id=call.workflow_id,
    )
    return _with("imageUrl", _keeping(found, image_url), originalUrl=image_url)


async def _text_to_music(call: Call) -> Output:
    prompt, seconds = call.text("prompt"), call.seconds("duration")
    url = await make.make_music(
        call.services,
        prompt=prompt,
        seconds=seconds,
        model=call.text("model"),
        workflow_id=call.workflow_id,
    )
    return {"audioUrl": url, "prompt": prompt, "duration": plain(seconds)}


async def _text_to_speech(call: Call) -> Output:
    text, voice = call.text("text"), call.text("voice")
    url = await make.speak(
        call.services,
        text=text,
        voice=voice,
        model=call.text("model"),
        workflow_id=call.workflow_id,
    )
    return {"audioUrl": url, "text": text[:SPOKEN_SHOWN], "voice": voice}


async def _split_text(call: Call) -> Output:
    parts = await split_text(
        call.services,
        call.value("text"),
        mode=call.text("splitMode"),
        count=int(call.number("numSegments", least=1, most=SEGMENTS_MAX)),
        path=call.text("arrayPath"),
    )
    return described(parts)


async def _service(call: Call) -> Output:
    return await make.ask_service(
        call.services, call.node, call.config, call.previous, workflow_id=call.workflow_id
    )


async def _image(call: Call) -> str:
    """Return the URL of the picture that a call begins with; inline data is made a file once."""
    if call.state.get("imageUrl"):
        return str(call.state["imageUrl"])
    url = make.given_image(call.value("imageUrl"))
    return await stored(call.services, url, workflow_id=call.workflow_id)


def _keeping(found: str | Waiting, image_url: str) -> str | Waiting:
    if isinstance(found, Waiting):
        return Waiting(state={**found.state, "imageUrl": image_url}, wait_ms=found.wait_ms)
    return found


def _with(key: str, found: str | Waiting, **more: Any) -> Output | Waiting:
    return found if isinstance(found, Waiting) else {key: found, **more}


DOING: Mapping[str, Do] = {
    "upload_files": _upload_files,
    "text_to_text": _text_to_text,
    "text_to_image": _text_to_image,
    "text_to_video": _text_to_video,
    "text_to_music": _text_to_music,
    "text_to_speech": _text_to_speech,
    "image_to_video": _image_to_video,
    "image_to_image": _image_to_image,
    "split_text": _split_text,
    "edit_video": edit_video,
    "clip_merger": clip_merger,
    **{node.name: _service for node in NODE_TYPES.values() if node.is_service},
}
