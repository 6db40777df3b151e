"""The nodes that cut films: what their configs ask of ffmpeg."""

from collections.abc import Mapping
from typing import Any

import msgspec

from batuta.store.blob.media import MediaFile
from batuta.workers.media.call import Call, NodeError, to_seconds
from batuta.workers.media.film import ffmpeg
from batuta.workers.media.film.cut import Plan, Shot, make_film
from batuta.workers.media.film.scene import Cut
from batuta.workers.media.provider import fake
from batuta.workers.media.source import checked, own_file, url_of

NO_VIDEO, NO_VIDEOS = "No input video provided", "No input videos provided"
NO_CLIPS = "No video clips to merge"
VOLUME_MAX = 10.0
SIZE_MIN, SIZE_MAX = 6, 400  # of letters, in pixels
CLIPS_MAX = 100


async def edit_video(call: Call) -> dict[str, Any]:
    """Put films, speech, music and words together, and cut what is asked."""
    shots = _shots(call)
    music = _url(_single(call.value("musicUrl")), "musicUrl")
    plan = Plan(
        shots=shots,
        how=Cut(
            scenes=(),
            speech_volume=call.number("speechVolume", least=0, most=VOLUME_MAX),
            music_volume=call.number("musicVolume", least=0, most=VOLUME_MAX),
            start=_time(call, "startTime") or 0.0,
            end=_time(call, "endTime"),
            ratio=call.text("cropRatio"),
            look=call.text("filter"),
        ),
        music=music,
        text=call.text("subtitleText"),
        place=call.text("subtitlePosition"),
        color=call.text("subtitleColor"),
        size=int(call.number("subtitleSize", least=SIZE_MIN, most=SIZE_MAX)),
    )
    url, path = await _made(call, plan)
    return {"videoUrl": url, "localPath": path}


async def clip_merger(call: Call) -> dict[str, Any]:
    """Put clips one after the other, with music where it is given."""
    clips = _clips(call.value("clips"))
    if not clips:
        raise NodeError(NO_CLIPS)
    if len(clips) > CLIPS_MAX:
        raise NodeError(f"{len(clips)} clips are given; {CLIPS_MAX} at most are merged")
    plan = Plan(
        shots=tuple(Shot(film=checked(clip, "clips")) for clip in clips),
        how=Cut(scenes=(), transition=call.text("transition")),
        music=_url(_single(call.value("bgmUrl")), "bgmUrl"),
    )
    url, _ = await _made(call, plan)
    words = "1 clip" if len(clips) == 1 else f"{len(clips)} clips"
    return {"videoUrl": url, "clipsMerged": len(clips), "note": f"Merged {words}"}


async def _made(call: Call, plan: Plan) -> tuple[str, str]:
    """Return the URL of the film, and where it is on this machine."""
    services = call.services
    if services.ai.is_fake and not _can_be_cut(call, plan):
        asked = msgspec.json.encode(plan).decode()
        url = await fake.made_film(
            services, call.node, asked, seconds=2.0, workflow_id=call.workflow_id
        )
        path = own_file(services, url)
        return url, str(path) if path else ""
    file: MediaFile = await make_film(services, plan, workflow_id=call.workflow_id)
    path = services.media.path(file.name) if services.media else None
    return url_of(services, file), str(path) if path else ""


def _can_be_cut(call: Call, plan: Plan) -> bool:
    """Tell whether everything is here, so that no provider and no network is needed."""
    urls = [plan.music, *(url for shot in plan.shots for url in (shot.film, shot.speech))]
    is_here = all(own_file(call.services, url) is not None for url in urls if url)
    return is_here and ffmpeg.find(call.services.ai.ffmpeg) is not None


def _shots(call: Call) -> tuple[Shot, ...]:
    items = call.value("items")
    if items is not None:
        if not isinstance(items, list):
            raise NodeError(NO_VIDEOS)
        shots = [_shot(one, call) for one in items]
        if not shots or not all(shot.film for shot in shots):
            raise NodeError(NO_VIDEOS)
        return tuple(shots)
    film = _url(call.value("videoUrl"), "videoUrl")
    if not film:
        raise NodeError(NO_VIDEO)
    return (Shot(film=film, speech=_url(call.value("speechUrl"), "speechUrl")),)


def _shot(item: Any, call: Call) -> Shot:
    """Return an item's shot; what it does not say itself the config says for all."""
    given: Mapping[str, Any] = item if isinstance(item, Mapping) else {"videoUrl": item}
    film = given.get("videoUrl") or call.value("videoUrl")
    speech = given.get("speechUrl")
    return Shot(film=_url(film, "videoUrl"), speech=_url(speech, "speechUrl"))


def _clips(given: Any) -> list[Any]:
    """Return the clips of a list, of JSON of one, or of a text with one on each line."""
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except (msgspec.DecodeError, RecursionError):
            given = given.split()
    if not isinstance(given, list):
        given = [given]
    found = [
        one.get("videoUrl") or one.get("url") if isinstance(one, Mapping) else one for one in given
    ]
    return [one for one in found if one]


def _single(value: Any) -> Any:
    """Return the first of a list: one piece of music is for the whole film."""
    return next(iter(value), None) if isinstance(value, list) else value


def _url(value: Any, key: str) -> str:
    return checked(value, key) if value else ""


def _time(call: Call, key: str) -> float | None:
    given = call.value(key)
    if given is None:
        return None
    found = to_seconds(given)
    if found is None or found < 0:
        raise NodeError(f"{key} is {str(given)[:40]!r}; say it as 5, '5 seconds' or '00:01:30'")
    return found
