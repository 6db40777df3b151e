"""How an answer is told. Source: semantics.md c.9, gotchas.md 42."""

import base64
from typing import Any

import msgspec
import pytest

from batuta.workers.system.answer import Answer, describe, shown_body

JSON = b"application/json"


def body_of(body: bytes, content_type: bytes = b"") -> Any:
    """Return the body as a reader of the task's output gets it, through JSON and back."""
    headers = ((b"Content-Type", content_type),) if content_type else ()
    described = describe(Answer(status=200, headers=headers, body=body))
    return msgspec.json.decode(msgspec.json.encode(described))["body"]


@pytest.mark.parametrize("content_type", [JSON, b"text/plain", b"", b"application/problem+json"])
@pytest.mark.parametrize(
    ("body", "value"),
    [(b'{"a": [1]}', {"a": [1]}), (b" [true]\n", [True]), (b"-1.50", -1.5), (b"7", 7)],
)
def test_objects_arrays_and_numbers_are_json_whatever_their_type(
    body: bytes, value: Any, content_type: bytes
) -> None:
    assert body_of(body, content_type) == value


@pytest.mark.parametrize(("body", "value"), [(b"true", True), (b"null", None), (b'"a"', "a")])
def test_other_json_is_json_where_the_server_says_so(body: bytes, value: Any) -> None:
    assert body_of(body, b"application/json; charset=utf-8") == value
    assert body_of(body, b"text/plain") == body.decode()


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[1e999]",
        b'["\\ud800"]',
        b'["\\u0000"]',
        b"[" * 95 + b"]" * 95,
        b"[" * 100_000,
        b"NaN",
        b"007",
        b"2025-11-20",
    ],
)
def test_json_that_no_reader_could_take_stays_text(body: bytes) -> None:
    assert body_of(body, JSON) == body.decode()


def test_a_key_that_stands_twice_counts_once() -> None:
    described = describe(Answer(status=200, body=b'{"a": 1, "a": 2}'))

    assert bytes(described["body"]) == b'{"a":2}'


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        (b"; charset=ISO-8859-1", b"caf\xe9", "café"),
        (b'; charset="utf-16"', "café".encode("utf-16"), "café"),
        (b"; Charset=Shift_JIS", "日本".encode("shift_jis"), "日本"),
        (b"", "\ufeffcafé".encode(), "café"),
        (b"; charset=no-such", "café".encode(), "café"),
        (b"; charset=punycode", b"caf-", "caf-"),
        (b"; charset=unicode_escape", b"\\ud800", "\\ud800"),
        (b"; charset=us-ascii", "café".encode(), "café"),
        (b"; charset=a\x00b", b"a", "a"),
    ],
)
def test_text_is_read_by_its_charset_and_else_as_utf_8(
    charset: bytes, body: bytes, text: str
) -> None:
    assert body_of(body, b"text/plain" + charset) == text


@pytest.mark.parametrize("body", [b"\xff\xfe\xfa", b"a\x00b"])
def test_what_is_no_text_is_base64_and_says_so(body: bytes) -> None:
    described = describe(Answer(status=200, body=body))

    assert base64.b64decode(described["body"]) == body
    assert described["bodyEncoding"] == "base64"


def test_headers_are_lists_by_the_first_spelling_of_their_name() -> None:
    headers = ((b"X-A", b"1"), (b"x-a", b"2"), (b"X-B", b"caf\xe9"))

    described = describe(Answer(status=200, headers=headers))

    assert described["headers"] == {"X-A": ["1", "2"], "X-B": ["café"]}


@pytest.mark.parametrize(
    ("status", "phrase", "said"), [(404, "", "Not Found"), (404, "Gone?", "Gone?"), (599, "", "")]
)
def test_the_reason_phrase_is_the_servers_or_the_usual_one(
    status: int, phrase: str, said: str
) -> None:
    assert describe(Answer(status=status, phrase=phrase))["reasonPhrase"] == said


def test_a_body_in_a_message_is_one_short_line_without_nul() -> None:
    answer = Answer(status=500, body=b"a\n  b\x00c\xff" + b"d" * 10_000)

    assert shown_body(answer, 10) == "a b c\ufffd" + "dddd"
