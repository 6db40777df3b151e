"""The settings of sinks: where the journal goes, and how."""

from typing import Annotated

import msgspec

from batuta.config.describe import says


class SinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What `Settings` says of sinks."""

    sinks: Annotated[
        tuple[str, ...],
        says(
            "Where events of runs are published: kafka, redis-stream, redis-instances, file, "
            "webhook."
        ),
    ] = ()
    sink_lag_max: Annotated[
        int,
        says(
            "Entries of the journal that a sink may be behind. Retention keeps them for it; one "
            "that is further behind skips them and is told so in one record.",
            ge=1_000,
        ),
    ] = 10_000_000
    sink_file: Annotated[
        str,
        says(
            "The file of the sink `file`, one JSON document on each line. Empty: events.jsonl "
            "beside the database."
        ),
    ] = ""
    sink_file_bytes_max: Annotated[
        int,
        says("The size at which the file is put aside; the last five are kept.", ge=1_000),
    ] = 100_000_000
    sink_webhook_url: Annotated[str, says("Where the sink `webhook` posts events.")] = ""
    sink_webhook_secret: Annotated[
        str, says("The key with which the sink `webhook` signs; empty: it does not sign.")
    ] = ""
    kafka_broker: Annotated[
        str,
        says(
            "Kafka's brokers, each host:port, with commas between.",
            ("KAFKA_BROKER", "KAFKA_BROKERS"),
            min_length=1,
        ),
    ] = "localhost:9092"
    kafka_client_id: Annotated[
        str, says("Our name in Kafka's logs.", ("KAFKA_CLIENT_ID",), min_length=1)
    ] = "batuta"
    kafka_group_id: Annotated[
        str,
        says(
            "Under this name the place is kept up to which Kafka has the journal; another name "
            "begins anew.",
            ("KAFKA_GROUP_ID",),
            min_length=1,
        ),
    ] = "batuta"
    redis_host: Annotated[
        str, says("Host of the Redis that sinks write to.", ("REDIS_HOST",), min_length=1)
    ] = "localhost"
    redis_port: Annotated[int, says("Port of that Redis.", ("REDIS_PORT",), ge=1, le=65_535)] = 6379
    redis_password: Annotated[str, says("Password of that Redis.", ("REDIS_PASSWORD",))] = ""
    redis_stream_max: Annotated[
        int, says("Entries that the stream in Redis keeps, about; 0 keeps all.", ge=0)
    ] = 100_000
