"""Settings on the command line: reading them, `batuta config`, and the pages written of them."""

import os
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from batuta.cli.exit import complain
from batuta.config import (
    UNUSED,
    Loaded,
    Setting,
    Unused,
    environment_names,
    list_settings,
    load_settings,
)

MASK = "***"
WIDTH = 98  # columns of a comment in .env.example
_IN_QUERY = re.compile(r"(?i)([?&](?:\w*password|token|\w*secret|key)=)[^&]*")
NOT_YET, NEEDLESS = "not used yet", "not needed"

_HEAD = """\
# Settings

Written from `batuta/config/settings.py` by `batuta config --reference`; a test compares the two.
How to use them: [configure the server](../howto/configure-the-server.md).

A flag of the command beats the environment, the environment beats the `.env` file (that of the
working folder, or the one named with `--env-file`), and the file beats the default. Where there are
several environment names, the first one that is set counts. A value that is not allowed stops the
command with a line that names the setting, the value and what is allowed; an unknown name that
begins with `BATUTA_` is warned about. `batuta config` shows what holds and where it came from.

| setting | environment | flag | read by | default | allowed | meaning |
|---|---|---|---|---|---|---|
"""

_TAIL = """\

Names that end in `_ms` are milliseconds, those in `_bytes_max` bytes. A list is written with commas
between; a flag `--strict` has its opposite `--no-strict`.

`PGHOST` and its like are put together to a `postgresql://` URL when `PGHOST` is set and `BATUTA_DB`
is not.

## Names that have no effect yet

They are accepted, so that an environment or a `.env` of another program need not be changed;
`batuta config` shows which of them are set. Nothing reads them in this version.

| environment | what will need it |
|---|---|
"""

_EXAMPLE_HEAD = """\
# Settings of batuta: copy this file to `.env` in the folder where you start it, or name it with
# --env-file, and take the # away before what you change. What is set in the environment beats this
# file, and a flag beats both. Written by `batuta config --env-example`; each setting is explained
# in docs/reference/configuration.md, and `batuta config` shows what holds.
"""


def read_settings(flags: Mapping[str, Any], env_file: Path | None) -> Loaded:
    """Read the settings of this process and warn about names that are none."""
    loaded = load_settings(flags, os.environ, env_file=env_file)
    for warning in loaded.warnings:
        complain(f"warning: {warning}")
    return loaded


def config_report(env_file: Path | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Tell each setting, its value and its source, then the names that have no effect.

    Passwords and keys are masked.

    Returns:
        The same as a document and as lines for people.
    """
    loaded = read_settings({}, env_file)
    rows = [
        {
            "name": setting.name,
            "value": _shown_of(setting.name, getattr(loaded.settings, setting.name)),
            "source": loaded.sources[setting.name],
            "isUsed": True,
            "note": "",
        }
        for setting in list_settings()
    ]
    rows += [
        {
            "name": given.source.partition(" ")[0],
            "value": MASK if given.unused.is_secret else masked(given.value),
            "source": given.source,
            "isUsed": False,
            "note": _note(given.unused),
        }
        for given in loaded.unused
    ]
    widths = [max(len(str(row[key])) for row in rows) for key in ("name", "value", "source")]
    return rows, [
        f"{row['name']:{widths[0]}}  {row['value'] or '-':{widths[1]}}  "
        f"{row['source']:{widths[2]}}  {row['note']}".rstrip()
        for row in rows
    ]


def reference_page() -> str:
    """Write docs/reference/configuration.md."""
    rows = "".join(_row(setting) for setting in list_settings())
    return _HEAD + rows + _TAIL + "".join(_unused_row(one) for one in UNUSED)


def env_example() -> str:
    """Write .env.example: every setting with its default, each line a comment."""
    return _EXAMPLE_HEAD + "".join(_example_lines())


def masked(url: str) -> str:
    """Hide the password of a URL, before its host or in its query."""
    url = _IN_QUERY.sub(rf"\g<1>{MASK}", url)
    scheme, slashes, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    if not slashes or not at or ":" not in account:
        return url
    return f"{scheme}://{account.partition(':')[0]}:{MASK}@{place}"


def _row(setting: Setting) -> str:
    names = ", ".join(f"`{name}`" for name in environment_names(setting))
    default = _shown(setting.default)
    shown = f"`{default}`" if default else "none"
    cells = (setting.name, names, f"`{setting.flag}`", ", ".join(setting.of), shown)
    return f"| {' | '.join(cells)} | {setting.allowed} | {setting.help} |\n"


def _unused_row(one: Unused) -> str:
    names = ", ".join(f"`{name}`" for name in one.names)
    return f"| {names} | {f'nothing: {one.for_what}' if one.is_needless else one.for_what} |\n"


def _example_lines() -> Iterator[str]:
    for setting in list_settings():
        others = environment_names(setting)[1:]
        also = f" Also: {', '.join(others)}." if others else ""
        says = textwrap.wrap(f"{setting.help}{also} Allowed: {setting.allowed}.", WIDTH)
        yield "\n" + "".join(f"# {line}\n" for line in says)
        yield f"#{setting.environment[0]}={_shown(setting.default)}\n"
    yield "\n# Names of other programs that have no effect yet; they may stand here.\n"
    yield from (f"#{one.names[1]}=\n" for one in UNUSED if not one.is_needless)


def _note(unused: Unused) -> str:
    return f"{NEEDLESS if unused.is_needless else NOT_YET}: {unused.for_what}"


def _shown_of(name: str, value: Any) -> str:
    return MASK if value and name.endswith(("_secret", "_password", "_key")) else _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else masked(str(value))
