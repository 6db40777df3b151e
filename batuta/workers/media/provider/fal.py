"""fal's API: a queue that is asked again until a request is done, and requests that we wait for.

Source: docs.fal.ai (queue: submit, status, result), as the official clients use it.
"""

import re
from collections.abc import Mapping
from typing import Any

from batuta.workers.media.ai import Services
from batuta.workers.media.call import NodeError, TroubleError, Waiting
from batuta.workers.media.provider.ask import Target, ask, cleaned
from batuta.workers.media.source import URL_CHARACTERS_MAX, is_data, stored

ASK_S, RUN_S = 30.0, 300.0
SOON_COUNT = 60  # questions at the first pace; after that each SLOW_FACTOR times later
SLOW_FACTOR = 3
_MODEL = re.compile(r"[\w.-]{1,100}(/[\w.-]{1,100}){1,6}", re.ASCII)
_REQUEST = re.compile(r"[\w-]{1,200}", re.ASCII)
_PLACES = {
    "image": (("images", "image"), ("url", "image_url")),
    "video": (("video", "videos"), ("url", "video_url")),
    "audio": (("audio", "audio_file", "audios"), ("url", "audio_url")),
}


def is_there(services: Services) -> bool:
    """Tell whether fal can be asked."""
    return bool(services.ai.fal_key)


async def queued(
    services: Services,
    model: str,
    body: Mapping[str, Any],
    state: Mapping[str, Any],
    *,
    kind: str,
    asks_max: int,
    workflow_id: str = "",
) -> str | Waiting:
    """Submit a request, or with the ``state`` of an earlier answer ask how far it is.

    Args:
        kind: What is made: image, video or audio.
        asks_max: How often it is asked before it counts as lost.

    Returns:
        The URL of the result; or what to keep, and when to ask again.

    Raises:
        NodeError: It cannot be asked, refuses, or has not been done. TroubleError: It may pass.
    """
    target = _target(services, services.ai.fal_queue_url)
    if not state.get("requestId"):
        answer = await ask(target, "POST", f"/{_path(model)}", body=body, wait_s=ASK_S)
        return Waiting(state=_submitted(answer, target, model), wait_ms=services.ask_ms)
    status_url, response_url = str(state["statusUrl"]), str(state["responseUrl"])
    asked = int(state.get("asked", 0)) + 1
    answer = await ask(target, "GET", status_url, wait_s=ASK_S)
    status = answer.get("status") if isinstance(answer, dict) else None
    if status in ("IN_QUEUE", "IN_PROGRESS"):
        if asked >= asks_max:
            raise NodeError(
                f"fal has not finished request {state['requestId']} of {model} after {asked} "
                "questions; it may be ready later at fal"
            )
        pace = 1 if asked < SOON_COUNT else SLOW_FACTOR
        return Waiting(state={**state, "asked": asked}, wait_ms=pace * services.ask_ms)
    if status != "COMPLETED":
        raise TroubleError(f"fal says {str(status)[:80]!r} of a request, which is no state of it")
    if answer.get("error"):
        raise NodeError(f"fal could not do it: {cleaned(str(answer['error']), target)}")
    result = await ask(target, "GET", response_url, wait_s=ASK_S)
    return await _result(services, result, kind, workflow_id)


async def run(
    services: Services, model: str, body: Mapping[str, Any], *, kind: str, workflow_id: str = ""
) -> str:
    """Make a request and wait for its result; return its URL.

    Raises:
        NodeError: It cannot be asked, or refuses. TroubleError: It may pass.
    """
    target = _target(services, services.ai.fal_url)
    result = await ask(target, "POST", f"/{_path(model)}", body=body, wait_s=RUN_S)
    return await _result(services, result, kind, workflow_id)


def _target(services: Services, url: str) -> Target:
    key = services.ai.fal_key
    if not key:
        raise NodeError(
            "FAL_KEY is not set, and this comes from fal; set it, or BATUTA_AI=fake for results "
            "that are made up"
        )
    return Target(name="fal", url=url, headers={"Authorization": f"Key {key}"}, secrets=(key,))


def _path(model: str) -> str:
    if not _MODEL.fullmatch(model) or ".." in model:
        raise NodeError(f"model is {model[:80]!r}; fal's have names such as fal-ai/flux/schnell")
    return model


def _submitted(answer: Any, target: Target, model: str) -> dict[str, Any]:
    """Return what is kept of a request: where to ask is believed only on fal's own address."""
    found = answer if isinstance(answer, dict) else {}
    request_id = found.get("request_id")
    if not isinstance(request_id, str) or not _REQUEST.fullmatch(request_id):
        raise TroubleError("fal's answer to a request has no request_id")
    # of a model's name the first two parts are the application; the rest is a path in it
    own = f"{target.url}/{'/'.join(model.split('/')[:2])}/requests/{request_id}"
    state = {"requestId": request_id, "statusUrl": f"{own}/status", "responseUrl": own}
    for key, name in (("statusUrl", "status_url"), ("responseUrl", "response_url")):
        given = found.get(name)
        if isinstance(given, str) and given.startswith(f"{target.url}/"):
            state[key] = given[:URL_CHARACTERS_MAX]
    return state


async def _result(services: Services, result: Any, kind: str, workflow_id: str) -> str:
    holders, names = _PLACES[kind]
    found = result if isinstance(result, dict) else {}
    held = [found.get(holder) for holder in holders]
    places = [one[0] if isinstance(one, list) and one else one for one in held]
    for place in (*places, found):
        for name in names:
            url = place if isinstance(place, str) else _of(place, name)
            if isinstance(url, str) and url:
                return await _judged(services, url, workflow_id)
    raise NodeError(f"fal's answer has no {kind}; it has {sorted(found)[:10]}")


def _of(place: Any, name: str) -> Any:
    return place.get(name) if isinstance(place, dict) else None


async def _judged(services: Services, url: str, workflow_id: str) -> str:
    if not is_data(url) and len(url) > URL_CHARACTERS_MAX:
        raise NodeError(f"fal's answer has a URL of {len(url):,} characters")
    return await stored(services, url, workflow_id=workflow_id)
