"""Environment names of other programs: what they mean here, and which have no effect yet.

They come with the documents of the workflows that are moved here. A name whose feature is not
there yet is accepted, shown by `batuta config` as not used, and changes nothing.
"""

from collections.abc import Callable
from urllib.parse import quote

import msgspec

POSTGRES_NAMES = ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE")


class Unused(msgspec.Struct, frozen=True, kw_only=True):
    """A name that is accepted and has no effect: `for_what` will need it."""

    names: tuple[str, ...]
    """Environment names, the first that is set wins; the first is our own, if there is one."""
    for_what: str
    is_secret: bool = False
    is_needless: bool = False
    """True where no later version will need it either."""


def _later(name: str, for_what: str, *also: str, is_secret: bool = False) -> Unused:
    names = (f"BATUTA_{name}", *(also or (name,)))
    return Unused(names=names, for_what=for_what, is_secret=is_secret)


def _needless(name: str, why: str) -> Unused:
    return Unused(names=(name,), for_what=why, is_needless=True)


UNUSED: tuple[Unused, ...] = (
    _later("METRICS_PORT", "metrics on a port of their own"),
    _later("AUTH_KEY", "keys of clients", "CONDUCTOR_AUTH_KEY"),
    _later("AUTH_SECRET", "keys of clients", "CONDUCTOR_AUTH_SECRET", is_secret=True),
    *(
        _needless(name, "the workers of firmware pipelines read it, the server does not")
        for name in ("ARTIFACT_STORAGE_PATH", "K1_DEVICE_IP", "PLATFORMIO_PROJECT_PATH")
    ),
    _needless("PLATFORMIO_UPLOAD_PORT", "firmware goes to the device that the task names"),
    _needless("VITE_BACKEND_URL", "the page is served by the server itself"),
    _needless("NODE_ENV", "there is one way to run it"),
    _needless("CHOKIDAR_USEPOLLING", "nothing watches files"),
)


def postgres_url(find: Callable[[str], tuple[str, str] | None]) -> tuple[str, str] | None:
    """Make a URL of libpq's names, with PGHOST's source; None where there is no PGHOST.

    The other names alone mean nothing: a password for some PostgreSQL is no wish to use it.

    Args:
        find: Looks a name up; its value and its source.
    """
    found = {name: entry for name in POSTGRES_NAMES if (entry := find(name)) and entry[0]}
    if "PGHOST" not in found:
        return None
    values = {name: quote(value, safe="") for name, (value, _) in found.items()}
    host, port = found["PGHOST"][0], values.get("PGPORT", "")
    account = values.get("PGUSER", "")
    if account and "PGPASSWORD" in values:
        account += f":{values['PGPASSWORD']}"
    account += "@" if account else ""
    database = values.get("PGDATABASE", "")
    if host.startswith("/"):  # the folder of a socket
        query = f"?host={quote(host)}" + (f"&port={port}" if port else "")
        return f"postgresql://{account}/{database}{query}", found["PGHOST"][1]
    place = f"[{host}]" if ":" in host else host
    url = f"postgresql://{account}{place}{':' if port else ''}{port}/{database}"
    return url, found["PGHOST"][1]
