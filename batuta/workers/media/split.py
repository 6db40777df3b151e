"""Taking a text apart: by a model, as a list, or as a list somewhere inside JSON."""

import itertools
import re
from typing import Any

import msgspec

from batuta.workers.media.ai import Services
from batuta.workers.media.call import SECONDS_MAX, NodeError, plain, to_seconds
from batuta.workers.media.make import write_text

SEGMENTS_MAX = 100
SEGMENT_S = 10  # the duration that each segment is given, as the flow builder's own backend does
NO_ARRAY = 'Split mode "array" requires array input'
NO_PATH = "Array path did not resolve to an array"
MODEL = "gpt-4o-mini"
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,9})\]")
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")


class Part(msgspec.Struct, frozen=True):
    """One part of a text, and how long it is meant to be shown."""

    text: str
    duration_s: float = SEGMENT_S


async def split_text(
    services: Services, text: Any, *, mode: str, count: int, path: str
) -> list[Part]:
    """Return the parts of a text.

    Args:
        text: Of mode ``text`` a text; of ``array`` a list, or JSON of one; of ``json_path``
            anything, or JSON of it.
        count: How many parts mode ``text`` makes.
        path: Where mode ``json_path`` finds the list, as ``data.items`` or ``$.data[0].items``.

    Raises:
        NodeError: There is nothing to take apart. TroubleError: A model may do it another time.
    """
    if mode == "array":
        found = _decoded(text)
        if not isinstance(found, list):
            raise NodeError(NO_ARRAY)
        return _listed(found)
    if mode == "json_path":
        found = _at(_decoded(text), path)
        if not isinstance(found, list):
            raise NodeError(NO_PATH)
        return _listed(found)
    if mode != "text":
        raise NodeError(f"splitMode is {mode[:40]!r}; allowed is text, array or json_path")
    whole = text if isinstance(text, str) else msgspec.json.encode(text).decode()
    if not whole.strip():
        raise NodeError("there is no text to split")
    if services.ai.is_fake:
        return [Part(one) for one in by_sentences(whole, count)]
    answer = await write_text(services, prompt=whole, system=_wish(count), model=MODEL)
    return [Part(one) for one in _parts(answer, count) or by_sentences(whole, count)]


def described(parts: list[Part]) -> dict[str, Any]:
    """Return the output of the node for its parts."""
    segments = [
        {"index": index, "text": part.text, "duration": plain(part.duration_s)}
        for index, part in enumerate(parts)
    ]
    texts = [part.text for part in parts]
    return {"segments": segments, "items": texts, "totalSegments": len(parts)}


def by_sentences(text: str, count: int) -> list[str]:
    """Return ``count`` parts of about as many sentences each; fewer where the text has fewer."""
    sentences = [one.strip() for one in _SENTENCE.split(text) if one.strip()]
    if len(sentences) < count:
        sentences = text.split()
    count = max(1, min(count, len(sentences)))
    edges = [index * len(sentences) // count for index in range(count + 1)]
    return [" ".join(sentences[first:last]) for first, last in itertools.pairwise(edges)]


def _wish(count: int) -> str:
    return (
        f"Split the user's text into exactly {count} consecutive parts that belong together, such "
        "as the scenes of a story. Keep its words. Return only a JSON array of "
        f"{count} strings, without any other text."
    )


def _parts(answer: str, count: int) -> list[str]:
    """Return the parts that a model has written; none when it wrote something else."""
    fenced = _FENCE.search(answer)
    text = fenced[1] if fenced else answer
    first, last = text.find("["), text.rfind("]")
    if not 0 <= first < last:
        return []
    try:
        found = msgspec.json.decode(text[first : last + 1])
    except (msgspec.DecodeError, RecursionError):
        return []
    named = [one.get("text", "") if isinstance(one, dict) else one for one in found]
    parts = [one.strip() for one in named if isinstance(one, str) and one.strip()]
    return parts[: max(count, 1)]


def _decoded(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def _at(found: Any, path: str) -> Any:
    for name, index in _STEP.findall(path.strip().removeprefix("$")):
        if index or (isinstance(found, list) and name.isdecimal()):
            place = int(index or name[:9])
            found = found[place] if isinstance(found, list) and place < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _listed(found: list[Any]) -> list[Part]:
    if len(found) > SEGMENTS_MAX * 10:
        raise NodeError(
            f"the list has {len(found)} elements; {SEGMENTS_MAX * 10} at most are split"
        )
    return [_part(one) for one in found]


def _part(one: Any) -> Part:
    """Return a list's element: a text, an object with a text and perhaps a duration, or JSON."""
    if isinstance(one, dict) and isinstance(one.get("text"), str):
        seconds = to_seconds(one.get("duration"))
        is_time = seconds is not None and 0 < seconds <= SECONDS_MAX
        return Part(one["text"], seconds if is_time and seconds else SEGMENT_S)
    return Part(one if isinstance(one, str) else msgspec.json.encode(one).decode())
