"""Sinks in a server: named by a setting, shown by the status, refused with a word of help."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from batuta.app.engine import open_engine
from batuta.app.sinks import start_sinks
from batuta.config import Settings, load_settings
from batuta.model.error import InvalidError
from batuta.runtime.view import StartRequest
from tests.sinks.test_relay import until

NOOP = {"name": "nothing", "tasks": [{"name": "n", "taskReferenceName": "n", "type": "NOOP"}]}


def settings(folder: Path, *sinks: str, **more: Any) -> Settings:
    """Return a server's settings."""
    return Settings(db=str(folder / "runs.db"), sinks=sinks, **more)


def events(path: Path) -> list[dict[str, Any]]:
    """Return what a file of events has."""
    if not path.exists():
        return []
    return [json.loads(line)["event"] for line in path.read_text("utf-8").splitlines()]


async def test_a_server_publishes_from_its_first_start_on_and_shows_how_it_goes(
    tmp_path: Path,
) -> None:
    given = settings(tmp_path, "file", "file")
    path = tmp_path / "events.jsonl"
    for count in (1, 2, 3):
        async with open_engine(given) as engine:
            await engine.definitions.put_workflow_defs([NOOP], overwrite=True)
            # The first run is before the sink has a place, and is not told of.
            told = await start_sinks(engine, given, []) if count > 1 else []
            await engine.start(StartRequest(name="nothing"))
            wanted = 3 * (count - 1)
            await until(lambda wanted=wanted: len(events(path)) >= wanted)
            if count > 1:
                assert told == ["events go to file"]
                await until(lambda: engine.supervisor.report()["sink file"]["lag"] == 0)
                shown = (await engine.status()).loops["sink file"]
                assert (shown["delivered"], shown["failures"], shown["lastError"]) == (3, 0, None)

    assert [event["status"] for event in events(path)] == [
        *(("RUNNING", "COMPLETED", "COMPLETED") * 2)
    ]


@pytest.mark.parametrize(
    ("sinks", "more", "message"),
    [
        (("kafak",), {}, "'kafak'; there are kafka, redis-stream, redis-instances, file, webhook"),
        (("webhook",), {}, "sink_webhook_url"),
        (("webhook",), {"sink_webhook_url": "ftp://x"}, "http:// or https://"),
    ],
)
async def test_a_sink_that_cannot_be_is_refused_at_the_start(
    tmp_path: Path, sinks: tuple[str, ...], more: dict[str, Any], message: str
) -> None:
    given = settings(tmp_path, *sinks, **more)
    async with open_engine(given) as engine:
        with pytest.raises(InvalidError, match=message):
            await start_sinks(engine, given, [])


async def test_an_address_without_a_sink_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = load_settings({"db": str(tmp_path / "runs.db")}, {"KAFKA_BROKER": "kafka:9092"})
    assert given.settings.kafka_broker == "kafka:9092"
    async with open_engine(given.settings) as engine:
        with caplog.at_level(logging.WARNING, "batuta.app.sinks"):
            assert await start_sinks(engine, given.settings, []) == []

    assert [record.getMessage() for record in caplog.records] == [
        "setting 'kafka_broker' is given, and no event goes there; name a sink in 'sinks'"
    ]


def test_the_names_of_the_original_are_read() -> None:
    names = {
        "KAFKA_BROKERS": "a:1,b:2",
        "KAFKA_CLIENT_ID": "conductor-app",
        "KAFKA_GROUP_ID": "conductor-group",
        "REDIS_HOST": "cache",
        "REDIS_PORT": "6380",
        "REDIS_PASSWORD": "secret",
        "BATUTA_SINKS": "kafka, redis-instances",
    }

    given = load_settings({}, names).settings

    assert given.sinks == ("kafka", "redis-instances")
    assert (given.kafka_broker, given.kafka_client_id) == ("a:1,b:2", "conductor-app")
    assert given.kafka_group_id == "conductor-group"
    assert (given.redis_host, given.redis_port, given.redis_password) == ("cache", 6380, "secret")
