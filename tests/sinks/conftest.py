"""Places where sinks publish: real brokers, files, a program that is posted to."""

from collections.abc import Iterator

import pytest

from tests.sinks.kafka import MockCluster


@pytest.fixture
def kafka() -> Iterator[MockCluster]:
    """Give a broker of Kafka's protocol, or skip, saying so."""
    cluster = MockCluster()
    yield cluster
    cluster.close()
