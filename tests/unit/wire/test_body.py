"""The door: what it refuses, naming the field, and what it lets through as bytes."""

import json
from typing import Any

import msgspec
import pytest

from batuta.api.body import (
    DEPTH_MAX,
    StartBody,
    decode_body,
    decode_whole,
    object_payload,
    payload_of,
    start_decoder,
    task_result_decoder,
    to_start,
    to_update,
)
from batuta.model.error import InvalidError
from batuta.model.execution import TaskStatus
from batuta.model.payload import EMPTY, Payload

IDS = b'"workflowInstanceId":"w1","taskId":"t1","status":"COMPLETED"'


def result(extra: bytes = b"") -> bytes:
    """Give a TaskResult with more fields."""
    return b"{" + IDS + (b"," + extra if extra else b"") + b"}"


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + closing * levels


# A body, and what the message must say.
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "body: is empty"),
    "blanks": (b" \r\n\t ", "body: is empty"),
    "a word": (b"hello", "no JSON"),
    "a cut word": (b"tru", "no JSON"),
    "python's true": (b"True", "no JSON"),
    "not a number": (b"NaN", "no JSON"),
    "a bare infinity": (b"Infinity", "no JSON"),
    "minus infinity": (b"[-Infinity]", "no JSON"),
    "a comma too many": (b"[1,]", "no JSON"),
    "a comma too many in an object": (b'{"a":1,}', "no JSON"),
    "a colon missing": (b'{"a" 1}', "no JSON"),
    "single quotes": (b"{'a':1}", "no JSON"),
    "no quotes": (b"{a:1}", "no JSON"),
    "a number as key": (b"{1:2}", "no JSON"),
    "a comment": (b"{/* */}", "no JSON"),
    "an open object": (b'{"a":1', "no JSON"),
    "an open text": (b'{"a":"b', "no JSON"),
    "more behind": (b"{} {}", "no JSON"),
    "a brace behind": (b"{}}", "no JSON"),
    "a leading zero": (b'{"a":01}', "no JSON"),
    "a bare point": (b'{"a":1.}', "no JSON"),
    "a plus sign": (b'{"a":+1}', "no JSON"),
    "hexadecimal": (b'{"a":0x1F}', "no JSON"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "no JSON"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "no JSON"),
    "UTF-32": ('{"a":1}'.encode("utf-32"), "no JSON"),
    "a NUL before": (b"\0{}", "no JSON"),
    "a form": (b"name=w&version=1", "no JSON"),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00", "no JSON"),
    "an unknown escape": (b'{"a":"\\x41"}', "no JSON"),
    "a short escape": (b'{"a":"\\u00"}', "no JSON"),
    "a raw NUL in text": (b'{"a":"b\0c"}', "no JSON"),
    "a raw line break in text": (b'{"a":"b\nc"}', "no JSON"),
    "a raw tab in text": (b'{"a":"b\tc"}', "no JSON"),
    "a lone byte": (b'{"a":"\xff"}', "UTF-8"),
    "a cut character": (b'{"a":"\xc3"}', "UTF-8"),
    "an overlong slash": (b'{"a":"\xc0\xaf"}', "UTF-8"),
    "a surrogate in UTF-8": (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
    "beyond Unicode": (b'{"a":"\xf4\x90\x80\x80"}', "UTF-8"),
    "a bad byte in a key": (b'{"\xff":1}', "UTF-8"),
    "latin-1": ('{"a":"é"}'.encode("latin-1"), "UTF-8"),
    "half a pair": (b'{"a":"\\ud800"}', "surrogate"),
    "half a pair and text": (b'{"a":"\\ud800xyz"}', "surrogate"),
    "the halves swapped": (b'{"a":"\\udc00\\ud800"}', "surrogate"),
    "the second half alone": (b'{"a":"\\udc00 "}', "surrogate"),
    "half a pair in a key": (b'{"\\ud800":1}', "surrogate"),
    "two first halves": (b'{"a":"\\ud800\\ud800"}', "surrogate"),
    "an escaped NUL": (b'{"a":{"b":["c","\\u0000"]}}', "a.b[1]: holds a NUL"),
    "an escaped NUL amid text": (b'{"outputData":{"x":"a\\u0000b"}}', "outputData.x: holds a NUL"),
    "an escaped NUL in a key": (b'{"a":{"k\\u0000":1}}', "holds a NUL"),
    "NUL alone": (b'"\\u0000"', "body: holds a NUL"),
    "a huge float": (b'{"outputData":{"x":1e400}}', "outputData.x: the number is out of range"),
    "a huge negative float": (b'{"a":[0,-1e400]}', "a[1]: the number is out of range"),
    "a huge float with a point": (b'{"a":1.5e999}', "a: the number is out of range"),
    "a huge exponent": (b'{"a":1e99999999999}', "out of range"),
    "digits without end": (b'{"a":' + b"9" * 10_000 + b"}", "out of range"),
    "minus digits without end": (b'{"a":-' + b"9" * 10_000 + b"}", "out of range"),
    "lists too deep": (nested(DEPTH_MAX + 2), "deeper than 100"),
    "lists far too deep": (nested(100_000), "deeper than 100"),
    "lists never closed": (b"[" * 100_000, "deeper than 100"),
    "objects too deep": (nested(DEPTH_MAX + 2, b'{"a":', b"}").replace(b":}", b":1}"), "deeper"),
    "objects far too deep": (b'{"a":' * 50_000, "deeper than 100"),
    "mixed too deep": (b'[{"a":' * 60 + b"1" + b"}]" * 60, "deeper than 100"),
    "a key twice": (b'{"status":"FAILED","status":"COMPLETED"}', "'status' is given twice"),
    "a key twice, inside": (b'{"a":{"b":1,"c":2,"b":3}}', "'b' is given twice"),
    "a key twice, in a list": (b'[{"a":1},{"b":1,"b":1}]', "'b' is given twice"),
    "a key twice, once escaped": (b'{"a":1,"\\u0061":2}', "'a' is given twice"),
    "a key twice, colons in text": (b'{"a":"::::","a":1}', "'a' is given twice"),
    "a key twice, colons escaped": (b'{"a":"\\u003a\\u003A","a":1,"a":2}', "'a' is given twice"),
    "a key twice, hidden by a colon": (b'{"a":1,"a":2,"b":"\\u003a"}', "'a' is given twice"),
    "an empty key twice": (b'{"":1,"":2}', "is given twice"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_body_is_refused_with_the_reason(case: str) -> None:
    body, said = HOSTILE[case]

    with pytest.raises(InvalidError) as raised:
        decode_whole(body)

    assert said in raised.value.message
    assert len(raised.value.message) < 400, "a message must not repeat a large body"
    assert raised.value.faults, "the field stands in validationErrors"


def test_the_corpus_is_large() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b" { } ",
        b"null",
        b"[]",
        b'"text"',
        b'{"a":null}',
        b'{"a":"\\ud83d\\ude00"}',
        '{"a":"😀","é":"\u2028"}'.encode(),
        b'{"a":"\\\\u0000"}',
        b'{"a":"::::","b":":"}',
        b'{"a":"\\u003a","b":1}',
        b'{"a":{"b":1},"c":{"b":1}}',
        b'{"a":1e308,"b":-1.5e-320,"c":0.1e-9999}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":"' + b"[" * 1000 + b'"}',
        b"[" + b"[]," * 500 + b"[]]",
        nested(DEPTH_MAX + 1),
        b'{"__proto__":{"a":1},"constructor":1}',
    ],
)
def test_what_is_valid_passes_as_it_is(body: bytes) -> None:
    assert decode_whole(body) == json.loads(body)


def test_a_payload_keeps_its_bytes_and_is_not_decoded() -> None:
    given = b'{ "b" : 1.0,\n "a":1e2, "\xc3\xa9": [ true ] }'

    command = to_update(decode_body(task_result_decoder, result(b'"outputData":' + given)))

    assert command.output is not None
    assert command.output.raw == given
    assert not command.output.is_decoded


@pytest.mark.parametrize("given", [b"null", b"{}", b"{ }", b"{\n\n}"])
def test_an_empty_or_null_object_is_the_empty_payload(given: bytes) -> None:
    command = to_update(decode_body(task_result_decoder, result(b'"outputData":' + given)))

    assert command.output is EMPTY


def test_an_absent_output_is_the_empty_payload() -> None:
    assert to_update(decode_body(task_result_decoder, result())).output is EMPTY


def test_null_means_absent_in_every_field_of_a_report() -> None:
    names = [
        name
        for name in TASK_RESULT_FIELDS
        if name not in {"workflowInstanceId", "taskId", "status"}
    ]
    extra = ",".join(f'"{name}":null' for name in names).encode()

    assert to_update(decode_body(task_result_decoder, result(extra))) == to_update(
        decode_body(task_result_decoder, result())
    )


def test_null_means_absent_in_every_field_of_a_start() -> None:
    fields = [field.encode_name for field in msgspec.structs.fields(StartBody)]
    body = json.dumps({**dict.fromkeys(fields), "name": "w"}).encode()

    assert to_start(decode_body(start_decoder, body), strict=False) == to_start(
        decode_body(start_decoder, b'{"name":"w"}'), strict=False
    )


def test_unknown_fields_are_ignored() -> None:
    """Python's start request always carries idempotencyStrategy=FAIL (clients.md 1.4)."""
    body = decode_body(start_decoder, b'{"name":"w","idempotencyStrategy":"FAIL","x":{"y":[1]}}')

    assert body.name == "w"


TASK_RESULT_FIELDS = [
    field.encode_name for field in msgspec.structs.fields(type(task_result_decoder.decode(b"{}")))
]
WRONG_TYPES: list[tuple[bytes, str]] = [
    (b'"taskId2":1,"workerId":[]', "workerId"),
    (b'"workerId":{}', "workerId"),
    (b'"reasonForIncompletion":[1]', "reasonForIncompletion"),
    (b'"callbackAfterSeconds":"soon"', "callbackAfterSeconds"),
    (b'"callbackAfterSeconds":1.5', "callbackAfterSeconds"),
    (b'"callbackAfterSeconds":{}', "callbackAfterSeconds"),
    (b'"callbackAfterSeconds":99999999999999999999', "callbackAfterSeconds"),
    (b'"logs":"x"', "logs"),
    (b'"logs":[1]', "logs[0]"),
    (b'"logs":[{"log":{}}]', "logs[0].log"),
    (b'"extendLease":"perhaps"', "extendLease"),
    (b'"outputData":[]', "outputData"),
    (b'"outputData":"text"', "outputData"),
    (b'"outputData":1', "outputData"),
    (b'"outputData":true', "outputData"),
    (b'"externalOutputPayloadStoragePath":"s3"', "externalOutputPayloadStoragePath"),
]


@pytest.mark.parametrize(("extra", "field"), WRONG_TYPES, ids=lambda value: str(value)[:40])
def test_a_wrong_type_is_refused_by_the_name_of_its_field(extra: bytes, field: str) -> None:
    with pytest.raises(InvalidError) as raised:
        to_update(decode_body(task_result_decoder, result(extra)))

    assert raised.value.faults[0].path == field
    assert raised.value.message.startswith(field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{}", "workflowInstanceId"),
        (b'{"workflowInstanceId":""}', "workflowInstanceId"),
        (b'{"workflowInstanceId":"w","taskId":""}', "taskId"),
        (b'{"workflowInstanceId":"w","taskId":"t"}', "status"),
        (b'{"workflowInstanceId":"w","taskId":"t","status":"completed"}', "status"),
        (b'{"workflowInstanceId":"w","taskId":"t","status":"TIMED_OUT"}', "status"),
        (b'{"workflowInstanceId":"w","taskId":"t","status":"SCHEDULED"}', "status"),
        (b'{"workflowInstanceId":7,"taskId":"t"}', "workflowInstanceId"),
        (b"[]", "body"),
        (b'"x"', "body"),
        (b"null", "body"),
        (b"12", "body"),
    ],
)
def test_a_report_without_what_it_needs_is_refused(body: bytes, field: str) -> None:
    with pytest.raises(InvalidError) as raised:
        to_update(decode_body(task_result_decoder, body))

    assert raised.value.faults[0].path == field


def test_seconds_become_milliseconds() -> None:
    body = decode_body(task_result_decoder, result(b'"callbackAfterSeconds":"90"'))

    assert to_update(body).callback_after_ms == 90_000


def test_negative_seconds_are_none() -> None:
    body = decode_body(task_result_decoder, result(b'"callbackAfterSeconds":-5'))

    assert to_update(body).callback_after_ms == 0


def test_scalars_are_taken_for_text_as_jackson_does() -> None:
    extra = b'"workerId":17,"reasonForIncompletion":true,"logs":[{"log":1.5},null,{"log":"x"},{}]'

    command = to_update(decode_body(task_result_decoder, result(extra)))

    assert (command.worker_id, command.reason, command.logs) == ("17", "true", ("1.5", "x"))


@pytest.mark.parametrize(
    "word", ["IN_PROGRESS", "COMPLETED", "FAILED", "FAILED_WITH_TERMINAL_ERROR", "CANCELED"]
)
def test_a_worker_may_report_each_status_of_a_task_result(word: str) -> None:
    body = result().replace(b"COMPLETED", word.encode())

    assert to_update(decode_body(task_result_decoder, body)).status is TaskStatus(word)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"priority": 100}, "priority"),
        ({"priority": -1}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"version": "latest"}, "version"),
        ({"input": [1]}, "input"),
        ({"input": "x"}, "input"),
        ({"taskToDomain": []}, "taskToDomain"),
        ({"taskToDomain": {"a": 1}}, "taskToDomain[...]"),
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": ["w"]}, "name"),
        ({"workflowDef": {"name": "w", "tasks": "none"}}, "workflowDef.tasks"),
        ({"externalInputPayloadStoragePath": "p"}, "externalInputPayloadStoragePath"),
    ],
    ids=str,
)
def test_a_start_that_makes_no_sense_is_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidError) as raised:
        to_start(
            decode_body(start_decoder, json.dumps({"name": "w", **more}).encode()), strict=False
        )

    assert raised.value.faults[0].path == field


def test_a_start_takes_numbers_written_as_text() -> None:
    body = (
        b'{"name":"w","version":"3","priority":"7","correlationId":12,'
        b'"taskToDomain":{"a":"d","b":null}}'
    )

    wish = to_start(decode_body(start_decoder, body), strict=False)

    assert (wish.version, wish.priority, wish.correlation_id) == (3, 7, "12")
    assert wish.task_to_domain == {"a": "d"}


def test_a_whole_body_is_carried_as_a_payload() -> None:
    assert object_payload(b' {"a": 1} ') == Payload(b'{"a": 1}')
    assert object_payload(b"") is EMPTY
    assert object_payload(b"null") is EMPTY


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"'])
def test_an_input_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidError, match="expected an object"):
        object_payload(body)


def test_a_payload_of_bytes_that_passed_the_door_decodes_later() -> None:
    """Nothing after the door may fail to decode: each accepted body does, and encodes again."""
    for body in (b'{"a":123456789012345678901234567890}', b'{"a":1e308}', b'{"\\ud83d\\ude00":1}'):
        decode_whole(body)

        payload = payload_of(msgspec.Raw(body), "input")

        assert Payload.of(payload.value).value == payload.value
