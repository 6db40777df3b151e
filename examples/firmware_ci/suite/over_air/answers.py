"""What a device says of itself over HTTP.

Two forms of answers are understood: the documented one, {build_signature, free_heap,
uptime_seconds, ...} and {fps, avg_render_time_ms, ...}, and that of firmware in the field,
{device, uptime_ms, build{...}, ...} and {fps, render_avg_us, ..., memory_free_kb}.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from examples.firmware_ci.suite.place import address_of
from examples.firmware_ci.suite.web import UnreachableError, ask, ask_json

AGAIN_S = 0.5  # between two questions to a device that starts anew


class Info(NamedTuple):
    """Who a device is; None is what it does not say."""

    build_signature: str
    free_heap: int | None
    uptime_seconds: float | None


class Performance(NamedTuple):
    """How a device is doing; times in ms; None is what it does not say."""

    fps: float
    avg_render_time_ms: float | None
    max_render_time_ms: float | None
    audio_latency_ms: float | None
    free_heap_bytes: int | None


def info(ip: str) -> Info:
    """Ask a device who it is.

    Raises:
        UnreachableError: It does not answer, or not with what it is.
    """
    found = _get(ip, "info")
    if "build_signature" in found:
        signature = str(found["build_signature"])
    else:
        build = found.get("build")
        signature = " ".join(str(one) for one in build.values()) if isinstance(build, dict) else ""
    heap, uptime_ms = found.get("free_heap"), found.get("uptime_ms")
    uptime_s = found.get("uptime_seconds", uptime_ms / 1_000 if uptime_ms is not None else None)
    return Info(signature, None if heap is None else int(heap), uptime_s)


def performance(ip: str) -> Performance:
    """Ask a device how it is doing.

    Raises:
        UnreachableError: It does not answer, or does not say how many frames it makes.
    """
    found = _get(ip, "performance")
    if "fps" not in found:
        raise UnreachableError(f"device {ip} does not say its fps")
    heap = found.get("free_heap", _scaled(found.get("memory_free_kb"), 1_024))
    return Performance(
        fps=float(found["fps"]),
        avg_render_time_ms=found.get(
            "avg_render_time_ms", _scaled(found.get("render_avg_us"), 0.001)
        ),
        max_render_time_ms=found.get(
            "max_render_time_ms", _scaled(found.get("render_max_us"), 0.001)
        ),
        audio_latency_ms=found.get("audio_latency_ms"),
        free_heap_bytes=None if heap is None else int(heap),
    )


def free_heap(ip: str, said: Info) -> int | None:
    """Give a device's free heap, which some say with their performance only."""
    return said.free_heap if said.free_heap is not None else performance(ip).free_heap_bytes


def activate(ip: str, pattern: str) -> None:
    """Have a device show a pattern, by the documented call or by that of the field.

    Raises:
        UnreachableError: It knows neither, or does not have the pattern.
    """
    base = _base(ip)
    status, content = ask(f"{base}/api/pattern/activate", {"pattern": pattern})
    if status == 404:
        status, content = ask(f"{base}/api/select", {"id": pattern})
    if status >= 300:
        text = content[:200].decode("utf-8", "replace")
        raise UnreachableError(f"device {ip} does not show {pattern!r}: {status} {text}")


def wait_until(ip: str, is_it: Callable[[Info], bool], limit_s: float) -> Info:
    """Ask a device until it is what is wanted or the time is over; give what it said last.

    Raises:
        UnreachableError: It did not answer at all.
    """
    until_s = time.monotonic() + limit_s
    while True:
        found: Info | None
        try:
            found = info(ip)
        except UnreachableError:
            found = None
            if time.monotonic() >= until_s:
                raise
        if found is not None and (is_it(found) or time.monotonic() >= until_s):
            return found
        time.sleep(AGAIN_S)


def _base(ip: str) -> str:
    address = address_of(ip)
    return f"http://{address.host}:{address.http_port}"


def _get(ip: str, what: str) -> dict[str, Any]:
    found = ask_json(f"{_base(ip)}/api/device/{what}")
    if not isinstance(found, dict):
        raise UnreachableError(f"device {ip} answers {what} with no object")
    return found


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
