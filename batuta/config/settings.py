"""Every setting, once: its name, type, default, environment names, flag and meaning.

The environment name of a setting is `BATUTA_` and its name in capitals; some have names of other
programs besides, as `PORT`. docs/reference/configuration.md and .env.example are written from this
file, and tests compare them.
"""

import typing
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from batuta.config.describe import CLIENT, DATA, SERVE, WORKER
from batuta.config.describe import says as _says
from batuta.config.sink import SinkSettings
from batuta.model.definition import COUNT_MAX, DAYS_MAX

PREFIX = "BATUTA_"

HOUR_MS = 3_600_000


class Settings(SinkSettings, frozen=True, kw_only=True):
    """What a server, a worker or a command was told; `load_settings` reads it."""

    host: Annotated[str, _says("Address to listen at.", min_length=1)] = "127.0.0.1"
    port: Annotated[
        int, _says("Port to listen at; 0 takes a free one.", ("PORT",), ge=0, le=65_535)
    ] = 8080
    db: Annotated[
        str,
        _says(
            "Where runs are kept: a SQLite file or a postgresql:// URL.",
            of=(SERVE, DATA),
            min_length=1,
        ),
    ] = "./.batuta/batuta.db"
    listen: Annotated[
        tuple[str, ...],
        _says(
            "Further ports, each a number, or a number and the front door that is alone there, "
            "as 3000=steps."
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        _says(
            "Origins whose pages may use the front doors, as https://app.example; the API is for "
            "this server's own pages only.",
            ("CORS_ORIGIN",),
        ),
    ] = ()
    steps_delay_percent: Annotated[
        int,
        _says("How much of the time that they simulate the sample steps take.", ge=0, le=1_000),
    ] = 100
    github_webhook_secret: Annotated[
        str,
        _says(
            "What GitHub signs its webhooks with; while it is empty none is taken.",
            ("GITHUB_WEBHOOK_SECRET",),
        ),
    ] = ""
    github_branches: Annotated[
        tuple[str, ...],
        _says("Branches to which a push starts the firmware pipeline.", min_length=1),
    ] = ("main",)
    node_tasks_max: Annotated[
        int,
        _says(
            "Nodes of flows of each type that this server does at once; 0 leaves them to others.",
            ge=0,
            le=100,
        ),
    ] = 4
    graph_tasks_max: Annotated[
        int,
        _says(
            "Nodes of graphs that this server does at once; 0 leaves them to processes of "
            "`batuta worker --dialect dag`.",
            ge=0,
            le=1_000,
        ),
    ] = 64
    flow_callback_secret: Annotated[
        str,
        _says(
            "What the messages about the ends of flows are signed with, for those who post a "
            "`callbackUrl`; while it is empty none is taken. `whsec_` and base64, or any text."
        ),
    ] = ""
    workflows: Annotated[
        str,
        _says("Folder of class workflows; each has a folder with config.json and workflow.py."),
    ] = "./workflows"
    workflows_retry_interval_ms: Annotated[
        int,
        _says(
            "How long a job of a class workflow waits again where its condition does not hold yet.",
            ge=10,
            le=24 * HOUR_MS,
        ),
    ] = 300_000
    workflows_retries_max: Annotated[
        int,
        _says("How often a step of a class workflow is tried again by itself.", ge=0, le=1_000),
    ] = 5
    jwt_secret: Annotated[
        str,
        _says(
            "Key that signs the tokens of who starts class workflows, 32 bytes or more; empty: "
            "one is made, and kept in jwt.key beside the database. Servers of one database have "
            "to share it.",
            of=(SERVE, "token"),
        ),
    ] = ""
    api_host: Annotated[
        str,
        _says(
            "Host that nodes of graphs reach where they call localhost:3000.",
            ("API_HOST",),
            (SERVE, WORKER),
        ),
    ] = ""
    api_port: Annotated[
        int,
        _says(
            "Port that nodes of graphs reach where they call localhost:3000; 0 is that of this "
            "server.",
            ("API_PORT",),
            (SERVE, WORKER),
            ge=0,
            le=65_535,
        ),
    ] = 0
    allow_remote: Annotated[
        bool, _says("Listen where other machines reach it. There are no keys yet.")
    ] = False
    allowed_hosts: Annotated[
        tuple[str, ...],
        _says("Host names that requests may be sent to, besides those of this machine."),
    ] = ()
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        _says("The least important message that is logged.", ("LOG_LEVEL",), (SERVE, WORKER)),
    ] = "info"
    update_wait_ms: Annotated[
        int, _says("How long a worker's report may wait while we are busy.", ge=0, le=HOUR_MS)
    ] = 30_000
    cache_bytes_max: Annotated[
        int, _says("Memory for the runs that are kept at hand.", ge=1_000_000)
    ] = 128_000_000
    body_bytes_max: Annotated[int, _says("The largest request body.", ge=1_000)] = 8_000_000
    upload_bytes_max: Annotated[
        int,
        _says(
            "The largest payload that is uploaded by itself, to be named in a later request.",
            ge=1_000,
            le=1_000_000_000,
        ),
    ] = 16_000_000
    blob_bytes_min: Annotated[
        int,
        _says("Payloads from this size on are files; the database has their names.", ge=20_000),
    ] = 1_000_000
    ai: Annotated[
        Literal["live", "fake"],
        _says(
            "Whom nodes ask for texts, pictures, films and sound: the providers, or nobody; fake "
            "results are made up from what was asked, without any network."
        ),
    ] = "live"
    openai_api_key: Annotated[
        str, _says("Key of OpenAI's API, or of one that speaks it.", ("OPENAI_API_KEY",))
    ] = ""
    openai_base_url: Annotated[
        str, _says("Base of OpenAI's API; empty: theirs.", ("OPENAI_BASE_URL",))
    ] = ""
    fal_key: Annotated[str, _says("Key of fal's API.", ("FAL_KEY",))] = ""
    fal_run_host: Annotated[
        str, _says("Host, or base URL, of fal's API; empty: fal.run.", ("FAL_RUN_HOST",))
    ] = ""
    fal_queue_run_host: Annotated[
        str,
        _says(
            "Host, or base URL, of fal's queue; empty: queue. and the host before.",
            ("FAL_QUEUE_RUN_HOST",),
        ),
    ] = ""
    content_service_url: Annotated[
        str,
        _says(
            "Base URL of a service of yours that does the nodes for faces, avatars and the like.",
            ("CONTENT_SERVICE_URL",),
        ),
    ] = ""
    ffmpeg: Annotated[
        str, _says("The ffmpeg that cuts films; empty: the one that is found.", ("FFMPEG",))
    ] = ""
    public_url: Annotated[
        str,
        _says(
            "How others reach this server, as https://flows.example; with it the addresses of "
            "media files are whole."
        ),
    ] = ""
    media_bytes_max: Annotated[
        int,
        _says(
            "The largest picture, film or sound that a node makes or fetches.",
            ge=1_000,
            le=10_000_000_000,
        ),
    ] = 200_000_000
    blob_folder: Annotated[
        str,
        _says(
            "Where large payloads, uploads and media files are kept. Empty: beside a SQLite "
            "database, with `-blobs` after its name; none with PostgreSQL, which keeps all "
            "payloads itself. Servers of one database have to share it.",
            of=(SERVE, DATA),
        ),
    ] = ""
    retention_days: Annotated[
        int,
        _says(
            "Ended runs are removed after so many days; 0 keeps them. A definition's own "
            "`retention` beats this and the next two.",
            ge=0,
            le=DAYS_MAX,
        ),
    ] = 0
    retention_failed_days: Annotated[
        int,
        _says(
            "The same for runs that failed, timed out or were terminated; 0: as the others.",
            ge=0,
            le=DAYS_MAX,
        ),
    ] = 0
    retention_count: Annotated[
        int,
        _says(
            "Of each workflow the last so many ended runs stay; 0 keeps them all.",
            ge=0,
            le=COUNT_MAX,
        ),
    ] = 0
    retention_retired_days: Annotated[
        int,
        _says(
            "Tasks that a restart, a rerun or a loop's `keepLastN` has retired, of runs that are "
            "kept, are removed after so many days; 0 keeps them.",
            ge=0,
            le=DAYS_MAX,
        ),
    ] = 0
    expression_environment: Annotated[
        tuple[str, ...], _says("Environment names that ${NAME} in a definition may read.")
    ] = ()
    drain_ms: Annotated[
        int,
        _says(
            "How long a stopping process waits for what is under way.",
            of=(SERVE, WORKER),
            ge=0,
            le=HOUR_MS,
        ),
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
            "although others reach this server.",
            of=(SERVE, WORKER),
        ),
    ] = ()
    strict: Annotated[bool, _says("Refuse every definition that Conductor refuses.")] = False
    server_url: Annotated[
        str,
        _says(
            "API of the server that commands and workers talk to.",
            ("CONDUCTOR_SERVER_URL", "CONDUCTOR_URL"),
            (WORKER, CLIENT),
            min_length=1,
        ),
    ] = "http://127.0.0.1:8080/api"
    worker_id: Annotated[
        str,
        _says(
            "Name of a worker process, shown with its tasks; empty: host name and process id.",
            ("WORKER_ID",),
            (WORKER,),
        ),
    ] = ""
    worker_concurrency: Annotated[
        int,
        _says(
            "Tasks that each function does at once; 0: as the function says, or 16.",
            ("WORKER_CONCURRENCY",),
            (SERVE, WORKER),
            ge=0,
            le=1_000,
        ),
    ] = 0
    poll_interval_ms: Annotated[
        int,
        _says(
            "How long a worker's poll waits at the server before the next one; a task that comes "
            "meanwhile is handed over at once. More than 5,000 counts as that.",
            ("POLL_INTERVAL_MS",),
            (WORKER,),
            ge=10,
            le=HOUR_MS,
        ),
    ] = 1_000


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting described, for help, errors and the reference page."""

    name: str
    kind: Any
    default: Any
    help: str
    allowed: str
    environment: tuple[str, ...]
    """Environment names, the first that is set wins."""
    of: tuple[str, ...]
    """What reads it: `serve`, `worker`, or several commands in a word."""

    @property
    def flag(self) -> str:
        """How it is given on a command line."""
        return "--server" if self.name == "server_url" else f"--{self.name.replace('_', '-')}"


def list_settings() -> tuple[Setting, ...]:
    """Describe every setting, in the order of the reference page."""
    hints = typing.get_type_hints(Settings, include_extras=True)
    inherited = SinkSettings.__struct_fields__
    fields = sorted(msgspec.structs.fields(Settings), key=lambda field: field.name in inherited)
    return tuple(_describe(field.name, hints[field.name], field.default) for field in fields)


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
        of=meta.extra["of"],
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
    return "a text that is not empty" if meta.min_length else "a text"
