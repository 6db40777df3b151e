"""Where the value of a setting comes from: a flag, the environment, a `.env` file, its default."""

import difflib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from batuta.config.file import read_env_file
from batuta.config.foreign import POSTGRES_NAMES, UNUSED, Unused, postgres_url
from batuta.config.settings import PREFIX, Setting, Settings, list_settings
from batuta.model.error import InvalidError

# Read by the repository's own tests, see docs/reference/development-commands.md.
DEVELOPMENT_NAMES = frozenset({"BATUTA_SIM_SEEDS", "BATUTA_KILLS", "BATUTA_TEST_POSTGRES_URL"})

_SWITCHES = {"yes": "true", "no": "false", "on": "true", "off": "false"}  # besides true, 1, ...
_LEVELS = {"trace": "debug", "warn": "warning", "critical": "error", "fatal": "error"}


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A value that was given for what has no effect, and where."""

    unused: Unused
    value: str
    source: str


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, where each came from, and what looked like a setting but is none."""

    settings: Settings
    sources: dict[str, str]
    """By setting: `flag`, `default`, or the environment name with its file, if any."""
    warnings: tuple[str, ...]
    unused: tuple[Given, ...] = ()


class _Sources(msgspec.Struct, frozen=True):
    flags: Mapping[str, Any]
    environment: Mapping[str, str]
    in_file: Mapping[str, str]
    file_name: str

    def find(self, *names: str) -> tuple[str, str] | None:
        """Give the value of the first name that is set, and its source."""
        for name in names:
            if name in self.environment:
                return self.environment[name], name
        for name in names:
            if name in self.in_file:
                return self.in_file[name], f"{name} in {self.file_name}"
        return None


def load_settings(
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    env_file: Path | None = None,
) -> Loaded:
    """Read the settings from their sources: flag, environment, file, default.

    Args:
        flags: Values by setting; None is "not given".
        environment: As `os.environ`.
        env_file: Must exist when given; else `.env` of the working folder is read if it is there.

    Raises:
        InvalidError: A value that is not allowed; names the setting, the value and what is.
    """
    described = list_settings()
    path = env_file or Path(".env")
    in_file = read_env_file(path, is_required=env_file is not None)
    given = _Sources(flags, environment, in_file, str(path))
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in described:
        value, source = _find(setting, given)
        sources[setting.name] = source
        if source != "default":
            values[setting.name] = _convert(setting, value, source)
    known = {name for setting in described for name in setting.environment} | DEVELOPMENT_NAMES
    known |= {name for one in UNUSED for name in one.names}
    unknown = sorted((environment.keys() | in_file.keys()) - known)
    return Loaded(
        settings=Settings(**values),
        sources=sources,
        warnings=tuple(_warning(name, known) for name in unknown if name.startswith(PREFIX)),
        unused=tuple(
            Given(unused=one, value=found[0], source=found[1])
            for one in UNUSED
            if (found := given.find(*one.names))
        ),
    )


def environment_names(setting: Setting) -> tuple[str, ...]:
    """Return all names that a setting is read from, those it is put together of too."""
    return setting.environment + (POSTGRES_NAMES if setting.name == "db" else ())


def _find(setting: Setting, given: _Sources) -> tuple[Any, str]:
    flag = given.flags.get(setting.name)
    if flag is not None:
        return flag, "flag"
    found = given.find(*setting.environment)
    if found is None and setting.name == "db":
        found = postgres_url(given.find)
    return found or (None, "default")


def _convert(setting: Setting, value: Any, source: str) -> Any:
    given = _plain(setting, value) if isinstance(value, str) else value
    try:
        return msgspec.convert(given, setting.kind, strict=False)
    except msgspec.ValidationError:
        raise InvalidError(
            f"setting {setting.name!r} (from {source}) is {value!r}; allowed is {setting.allowed}"
        ) from None


def _plain(setting: Setting, value: str) -> Any:
    """Return a text as its type is read; others' words for a level or a yes are known too."""
    kind, text = typing.get_args(setting.kind)[0], value.strip()
    if typing.get_origin(kind) is tuple:
        return [part.strip() for part in text.split(",") if part.strip()]
    if kind is bool:
        return _SWITCHES.get(text.lower(), text)
    return _LEVELS.get(text.lower(), text.lower()) if setting.name == "log_level" else text


def _warning(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else "; `batuta config` lists the settings"
    return f"environment name {name!r} is no setting and has no effect{meant}"
