"""Settings on the command line: reading them, `batuta config`, and their reference page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batuta.cli.exit import complain
from batuta.config import Loaded, Setting, list_settings, load_settings

_HEAD = """\
# Settings

Written from `batuta/config.py` by `batuta config --reference`; a test compares the two.

A flag of the command beats the environment, the environment beats the `.env` file (that of the
working folder, or the one named with `--env-file`), and the file beats the default. Where there are
two environment names, the first one that is set counts. A value that is not allowed stops the
command with a line that names the setting, the value and what is allowed; an unknown name that
begins with `BATUTA_` is warned about. `batuta config` shows what holds and where it came from.

| setting | environment | default | allowed | meaning |
|---|---|---|---|---|
"""

_TAIL = """\

Names that end in `_ms` are milliseconds, those in `_bytes_max` bytes. A list is written with commas
between.
"""


def read_settings(flags: Mapping[str, Any], env_file: Path | None) -> Loaded:
    """Read the settings of this process and warn about names that are none."""
    loaded = load_settings(flags, os.environ, env_file=env_file)
    for warning in loaded.warnings:
        complain(f"warning: {warning}")
    return loaded


def config_command(env_file: Path | None, *, is_reference: bool) -> None:
    """Print each setting, its value and its source; a password in a URL is masked."""
    if is_reference:
        print(reference_page(), end="")
        return
    loaded = read_settings({}, env_file)
    rows = [
        (setting.name, _shown(getattr(loaded.settings, setting.name)), loaded.sources[setting.name])
        for setting in list_settings()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        print(f"{name:{widths[0]}}  {value:{widths[1]}}  {source}")


def reference_page() -> str:
    """Write docs/reference/configuration.md."""
    return _HEAD + "".join(_row(setting) for setting in list_settings()) + _TAIL


def _row(setting: Setting) -> str:
    names = ", ".join(f"`{name}`" for name in setting.environment)
    default = _shown(setting.default)
    shown = "none" if default == "-" else f"`{default}`"
    return f"| {setting.name} | {names} | {shown} | {setting.allowed} | {setting.help} |\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value) or "-"
    return masked(str(value))


def masked(url: str) -> str:
    """Hide the password of a database URL."""
    scheme, slashes, rest = url.partition("://")
    account, at, place = rest.rpartition("@")
    if not slashes or not at or ":" not in account:
        return url
    return f"{scheme}://{account.partition(':')[0]}:***@{place}"
