"""Every setting, once: its name, type, default, environment names and meaning.

A value comes from a flag, else the environment, else a `.env` file, else the default here. The
environment name of a setting is `BATUTA_` and its name in capitals; some have a second one, as
`PORT`. docs/reference/configuration.md is written from this file, and a test compares them.
"""

import difflib
import ipaddress
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from batuta.model.error import InvalidError

PREFIX = "BATUTA_"

# Read by the repository's own tests, see docs/reference/development-commands.md.
DEVELOPMENT_NAMES = frozenset({"BATUTA_SIM_SEEDS", "BATUTA_KILLS", "BATUTA_TEST_POSTGRES_URL"})

HOUR_MS = 3_600_000


def _says(text: str, also: tuple[str, ...] = (), **limits: Any) -> Meta:
    return Meta(description=text, extra={"also": also}, **limits)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server, a worker or a command was told; `load_settings` reads it."""

    host: Annotated[str, _says("Address to listen at.", min_length=1)] = "127.0.0.1"
    port: Annotated[
        int, _says("Port to listen at; 0 takes a free one.", ("PORT",), ge=0, le=65_535)
    ] = 8080
    db: Annotated[
        str, _says("Where runs are kept: a SQLite file or a postgresql:// URL.", min_length=1)
    ] = "./.batuta/batuta.db"
    allow_remote: Annotated[
        bool, _says("Listen where other machines reach it. There are no keys yet.")
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        _says("Host names that requests may be sent to, besides those of this machine."),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _says("The least important message that is logged.", ("LOG_LEVEL",)),
    ] = "info"
    update_wait_ms: Annotated[
        int, _says("How long a worker's report may wait while we are busy.", ge=0, le=HOUR_MS)
    ] = 30_000
    cache_bytes_max: Annotated[
        int, _says("Memory for the runs that are kept at hand.", ge=1_000_000)
    ] = 128_000_000
    body_bytes_max: Annotated[int, _says("The largest request body.", ge=1_000)] = 8_000_000
    expression_environment: Annotated[
        tuple[str, ...], _says("Environment names that ${NAME} in a definition may read.")
    ] = ()
    drain_ms: Annotated[
        int, _says("How long a stopping process waits for what is under way.", ge=0, le=HOUR_MS)
    ] = 10_000
    script_ms_max: Annotated[
        int, _says("How long one script of a definition may run.", ge=10, le=60_000)
    ] = 4_000
    http_tasks_max: Annotated[
        int, _says("HTTP tasks this server does at once; 0 leaves them to others.", ge=0, le=1_000)
    ] = 64
    http_allowed_targets: Annotated[
        tuple[str, ...],
        _says(
            "Addresses, networks, names and *.names inside the network that HTTP tasks may call "
            "although others reach this server."
        ),
    ] = ()
    strict: Annotated[bool, _says("Refuse every definition that Conductor refuses.")] = False
    server_url: Annotated[
        str,
        _says(
            "API that `batuta run` and `batuta worker` talk to.",
            ("CONDUCTOR_SERVER_URL",),
            min_length=1,
        ),
    ] = "http://127.0.0.1:8080/api"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting described, for help, errors and the reference page."""

    name: str
    kind: Any
    default: Any
    help: str
    allowed: str
    environment: tuple[str, ...]
    """Environment names, the first that is set wins."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, where each came from, and what looked like a setting but is none."""

    settings: Settings
    sources: dict[str, str]
    """By setting: `flag`, `default`, or the environment name with its file, if any."""
    warnings: tuple[str, ...]


def list_settings() -> tuple[Setting, ...]:
    """Describe every setting, in the order of the reference page."""
    hints = typing.get_type_hints(Settings, include_extras=True)
    return tuple(
        _describe(field.name, hints[field.name], field.default)
        for field in msgspec.structs.fields(Settings)
    )


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
    in_file = _read_env_file(path, is_required=env_file is not None)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for setting in described:
        value, source = _find(setting, flags, environment, in_file, str(path))
        sources[setting.name] = source
        if source != "default":
            values[setting.name] = _convert(setting, value, source)
    known = {name for setting in described for name in setting.environment} | DEVELOPMENT_NAMES
    unknown = sorted((environment.keys() | in_file.keys()) - known)
    warnings = tuple(_warning(name, known) for name in unknown if name.startswith(PREFIX))
    return Loaded(settings=Settings(**values), sources=sources, warnings=warnings)


def check_binding(settings: Settings) -> None:
    """Refuse to listen where other machines reach us, unless that was asked for.

    Raises:
        InvalidError: The host is not a loopback one and `allow_remote` is not set.
    """
    if settings.allow_remote or is_loopback(settings.host):
        return
    raise InvalidError(
        f"host {settings.host!r} can be reached by other machines, and whoever reaches it may do "
        "everything, because this version has no keys; listen at 127.0.0.1, or give --allow-remote "
        "(BATUTA_ALLOW_REMOTE=true) if a firewall or a proxy decides who gets in"
    )


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches `host`."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _describe(name: str, annotation: Any, default: Any) -> Setting:
    kind, meta = typing.get_args(annotation)[:2]
    names = (PREFIX + name.upper(), *meta.extra["also"])
    return Setting(
        name=name,
        kind=annotation,
        default=default,
        help=meta.description,
        allowed=_allowed(kind, meta),
        environment=names,
    )


def _allowed(kind: Any, meta: Meta) -> str:
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"a whole number from {meta.ge:,}" + (f" to {meta.le:,}" if meta.le else "")
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "names with commas between"
    return "a text that is not empty"


def _find(
    setting: Setting,
    flags: Mapping[str, Any],
    environment: Mapping[str, str],
    in_file: Mapping[str, str],
    file_name: str,
) -> tuple[Any, str]:
    flag = flags.get(setting.name)
    if flag is not None:
        return flag, "flag"
    for name in setting.environment:
        if name in environment:
            return environment[name], name
    for name in setting.environment:
        if name in in_file:
            return in_file[name], f"{name} in {file_name}"
    return None, "default"


def _convert(setting: Setting, value: Any, source: str) -> Any:
    given = value
    is_list = typing.get_origin(typing.get_args(setting.kind)[0]) is tuple
    if is_list and isinstance(value, str):
        given = [part.strip() for part in value.split(",") if part.strip()]
    elif isinstance(value, str):
        given = value.strip()
        # log levels are written in both cases, and others' LOG_LEVEL usually in capitals
        given = given.lower() if setting.name == "log_level" else given
        # msgspec reads true and false; 1, 0 and these two are as common in environments
        given = {"yes": "true", "no": "false"}.get(given.lower(), given)
    try:
        return msgspec.convert(given, setting.kind, strict=False)
    except msgspec.ValidationError:
        raise InvalidError(
            f"setting {setting.name!r} (from {source}) is {value!r}; allowed is {setting.allowed}"
        ) from None


def _read_env_file(path: Path, *, is_required: bool) -> dict[str, str]:
    """Read `NAME=value` lines; quotes around a value and a leading `export` are dropped."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if is_required:
            raise InvalidError(f"there is no file {str(path)!r} to read settings from") from None
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"file {str(path)!r} cannot be read: {error}") from error
    return dict(_env_lines(text, path))


def _env_lines(text: str, path: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ")
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals:
            raise InvalidError(f"file {str(path)!r} line {number} is {line!r}; write NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield name.strip(), value


def _warning(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"; did you mean {close[0]}?" if close else "; `batuta config` lists the settings"
    return f"environment name {name!r} is no setting and has no effect{meant}"
