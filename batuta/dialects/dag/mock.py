"""The bundled mock service that the sample workflows call. The same question, the same answer."""

import urllib.parse
import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from batuta.dialects.nest import moment
from batuta.runtime.clock import wall_ms

PREFIX = "/workflows/api/"

_CITIES = {"dubai": 38, "london": 14, "new york": 21, "tokyo": 26, "oslo": 4, "delhi": 34}
_CONDITIONS = ("Sunny", "Cloudy", "Rainy", "Windy")
_ZONES = {"server_room": 34, "main_building": 32, "lobby": 22}
Given = dict[str, Any]


def mock_answer(method: str, path: str, body: Any) -> tuple[int, Given]:
    """Answer a request to the mock service: a status and a document.

    Args:
        path: With its query.
        body: Decoded, or as JSON text; anything but an object counts as an empty one.
    """
    parts = urllib.parse.urlsplit(path)
    found = _SERVICES.get(parts.path.rstrip("/"))
    if found is None:
        return 404, {"message": f"Cannot {method} {parts.path}", "statusCode": 404}
    wanted, service = found
    if method != wanted:
        return 405, {"message": f"{parts.path} takes {wanted}", "statusCode": 405}
    return 200, service({**dict(urllib.parse.parse_qsl(parts.query)), **_object(body)})


def paths() -> list[tuple[str, str]]:
    """Return the method and path of each service."""
    return [(method, path) for path, (method, _) in _SERVICES.items()]


def _object(body: Any) -> Given:
    if isinstance(body, str | bytes):
        try:
            body = msgspec.json.decode(body)
        except msgspec.DecodeError:
            return {}
    return body if isinstance(body, dict) else {}


def _number(text: str, least: int, most: int) -> int:
    """Return a number of a text, always the same one."""
    return least + zlib.crc32(text.lower().encode()) % (most - least + 1)


def _weather(given: Given) -> Given:
    city = str(given.get("city") or "London")
    return {
        "city": city,
        "temperature": _CITIES.get(city.lower(), _number(city, 5, 40)),
        "condition": _CONDITIONS[_number(city, 0, len(_CONDITIONS) - 1)],
        "humidity": _number(f"{city} humidity", 30, 90),
        "timestamp": moment(wall_ms()),
    }


def _person(given: Given) -> Given:
    first, last = str(given.get("first_name") or "Ada"), str(given.get("last_name") or "Lovelace")
    company = str(given.get("organization_name") or "Example")
    domain = "".join(ch for ch in company.lower() if ch.isalnum()) + ".example"
    return {
        "person": {
            "first_name": first,
            "last_name": last,
            "email": f"{first}.{last}@{domain}".lower().replace(" ", ""),
            "phone": f"+1-555-{_number(first + last, 1000, 9999)}",
            "title": "Software Engineer",
            "organization": {"name": company, "domain": domain},
        },
        "enrichment_score": _number(first + last + company, 60, 99),
    }


def _lead(given: Given) -> Given:
    title = str(given.get("title") or "")
    is_chief = any(word in title.lower() for word in ("ceo", "cto", "chief", "head", "director"))
    is_linked = "linkedin" in str(given.get("lead_source") or "").lower()
    return {**given, "score": 50 + 30 * is_chief + 10 * is_linked, "analyzed_at": moment(wall_ms())}


def _sensor(given: Given) -> Given:
    zone = str(given.get("zone") or "main_building")
    return {
        "sensor_id": f"sensor-{_number(zone, 100, 999)}",
        "zone": zone,
        "floor": str(given.get("floor") or "1"),
        "temperature": _ZONES.get(zone, _number(zone, 18, 36)),
        "unit": "celsius",
        "humidity": _number(f"{zone} humidity", 30, 70),
        "air_quality": "good",
        "timestamp": moment(wall_ms()),
    }


def _cooling(given: Given) -> Given:
    return {
        "zone": given.get("zone"),
        "action": given.get("action") or "turn_on",
        "target_temperature": given.get("target_temperature", 22),
        "status": "accepted",
        "timestamp": moment(wall_ms()),
    }


_SERVICES: dict[str, tuple[str, Callable[[Given], Given]]] = {
    f"{PREFIX}test-weather": ("GET", _weather),
    f"{PREFIX}mock/apollo/person-enrichment": ("POST", _person),
    f"{PREFIX}mock/lead-scoring/analyze": ("POST", _lead),
    f"{PREFIX}mock/building/temperature": ("GET", _sensor),
    f"{PREFIX}mock/building/ac/control": ("POST", _cooling),
    f"{PREFIX}mock/sensors/temperature/live": ("GET", _sensor),
}
