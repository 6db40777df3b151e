"""Opens the configured sinks: the only file that names concrete ones."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from batuta.app.engine import data_folder
from batuta.config import Settings
from batuta.model.error import InvalidError, NotFoundError
from batuta.runtime.engine import Engine

if TYPE_CHECKING:
    from batuta.dialects import Dialect
    from batuta.sinks.base import Record, Sink
    from batuta.sinks.redis import Place

FILE_NAME = "events.jsonl"

_log = logging.getLogger(__name__)


async def start_sinks(
    engine: Engine, settings: Settings, dialects: "Sequence[Dialect]"
) -> list[str]:
    """Begin to relay the journal to the configured sinks; return lines that say where.

    From here on nothing that is committed is missed: each has its place in the journal.

    Raises:
        InvalidError: A name that no sink has, or a sink whose package is not installed.
    """
    _warn(settings)
    if not settings.sinks:
        return []
    from batuta.sinks.relay import Relay

    tellers = {one.mount.name: one.tell for one in dialects if one.tell is not None}
    for name in dict.fromkeys(settings.sinks):
        relay = Relay(
            _open(name, engine, settings, dialects),
            engine.store,
            cursor=f"kafka {settings.kafka_group_id}" if name == "kafka" else name,
            node=engine.node,
            tellers=tellers,
            now_ms=engine.now_ms,
            lag_max=settings.sink_lag_max,
        )
        await relay.begin()
        engine.listeners.append(relay.hint)
        engine.supervisor.start(f"sink {name}", relay.run, relay.facts)
    return [f"events go to {', '.join(dict.fromkeys(settings.sinks))}"]


def _open(name: str, engine: Engine, settings: Settings, dialects: "Sequence[Dialect]") -> "Sink":
    openers: Mapping[str, Callable[[], Sink]] = {
        "kafka": lambda: _kafka(settings),
        "redis-stream": lambda: _redis_stream(settings),
        "redis-instances": lambda: _redis_instances(engine, settings, dialects),
        "file": lambda: _file(settings),
        "webhook": lambda: _webhook(engine, settings),
    }
    if name not in openers:
        raise InvalidError(
            f"setting 'sinks' names {name!r}; there are {', '.join(openers)}",
        )
    return openers[name]()


def _kafka(settings: Settings) -> "Sink":
    from batuta.sinks.kafka import KafkaSink

    return KafkaSink(settings.kafka_broker, client_id=settings.kafka_client_id)


def _redis_stream(settings: Settings) -> "Sink":
    from batuta.sinks.redis import RedisStreamSink

    return RedisStreamSink(_redis(settings), length_max=settings.redis_stream_max)


def _redis_instances(engine: Engine, settings: Settings, dialects: "Sequence[Dialect]") -> "Sink":
    from batuta.sinks.redis import RedisInstancesSink

    views = {one.mount.name: one.document for one in dialects if one.document is not None}

    async def document(record: "Record") -> bytes | None:
        view = views.get(record.dialect)
        if view is None:
            return None
        try:
            return view(await engine.get(record.workflow_id))
        except NotFoundError:
            return None

    return RedisInstancesSink(_redis(settings), document)


def _redis(settings: Settings) -> "Place":
    from batuta.sinks.redis import Place

    return Place(settings.redis_host, settings.redis_port, settings.redis_password)


def _file(settings: Settings) -> "Sink":
    from pathlib import Path

    from batuta.sinks.file import FileSink

    path = Path(settings.sink_file) if settings.sink_file else data_folder(settings) / FILE_NAME
    return FileSink(path, bytes_max=settings.sink_file_bytes_max)


def _webhook(engine: Engine, settings: Settings) -> "Sink":
    from batuta.sinks.webhook import WebhookSink

    if not settings.sink_webhook_url.startswith(("http://", "https://")):
        raise InvalidError(
            f"setting 'sink_webhook_url' is {settings.sink_webhook_url!r}; the sink 'webhook' "
            "needs an http:// or https:// URL"
        )
    return WebhookSink(
        settings.sink_webhook_url, settings.sink_webhook_secret, now_ms=engine.now_ms
    )


def _warn(settings: Settings) -> None:
    """Say that an address alone publishes nothing: it may be meant for another program."""
    names = {"kafka_broker": "kafka", "redis_host": "redis", "sink_webhook_url": "webhook"}
    for setting, sink in names.items():
        is_given = getattr(settings, setting) != getattr(Settings(), setting)
        if is_given and not any(name.startswith(sink) for name in settings.sinks):
            _log.warning(
                "setting %r is given, and no event goes there; name a sink in 'sinks'", setting
            )
