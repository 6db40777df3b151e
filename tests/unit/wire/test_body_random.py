"""The door holds for bodies that nobody thought of."""

import contextlib
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some

from batuta.api.body import (
    decode_body,
    decode_whole,
    object_payload,
    start_decoder,
    task_result_decoder,
    to_start,
    to_update,
)
from batuta.model.error import InvalidError

TEXT = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SCALARS = (
    some.none()
    | some.booleans()
    | some.integers(-(2**70), 2**70)
    | some.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = some.recursive(
    SCALARS,
    lambda inner: some.lists(inner, max_size=5) | some.dictionaries(TEXT, inner, max_size=5),
    max_leaves=30,
)
FRAGMENTS = [b'{"', b'":', b"[", b"]", b"}", b",", b'"', b"\\u0000", b"\\ud800", b"1e999", b"\xff"]
WORDS = [
    *(b'"%s":' % name for name in (b"taskId", b"status", b"outputData", b"input", b"version")),
    b"null",
    b"-",
    b"0",
    b"9" * 40,
    b"\\",
    b" ",
]


@given(VALUES, some.booleans(), some.sampled_from([None, 1]))
def test_every_value_passes_however_it_is_spelled(
    value: Any,
    is_ascii: bool,  # noqa: FBT001 - drawn
    indent: int | None,
) -> None:
    body = json.dumps(value, ensure_ascii=is_ascii, indent=indent).encode()

    assert decode_whole(body) == json.loads(body)


@given(some.dictionaries(TEXT, VALUES, max_size=5))
def test_a_payload_that_passes_decodes_to_the_same(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()

    assert object_payload(body).value == json.loads(body)


@settings(max_examples=1_000)
@given(some.lists(some.sampled_from([*FRAGMENTS, *WORDS]) | some.binary(max_size=3), max_size=25))
def test_scraps_are_refused_or_taken_and_nothing_else_happens(scraps: list[bytes]) -> None:
    """Whatever is sent gives an InvalidError or a command; any other exception is a 500."""
    body = b"".join(scraps)

    with contextlib.suppress(InvalidError):
        decode_whole(body)
    with contextlib.suppress(InvalidError):
        to_update(decode_body(task_result_decoder, body))
    with contextlib.suppress(InvalidError):
        to_start(decode_body(start_decoder, body), strict=False)


@settings(max_examples=300)
@given(some.dictionaries(some.sampled_from(["a", "b", "c"]), VALUES, min_size=1), some.data())
def test_a_key_given_twice_is_found(value: dict[str, Any], data: some.DataObject) -> None:
    key = data.draw(some.sampled_from(sorted(value)))
    twice = json.dumps(value)[:-1] + f", {json.dumps(key)}: 1}}"

    try:
        decode_whole(twice.encode())
    except InvalidError as error:
        assert "given twice" in error.message  # noqa: PT017 - it must be raised, see below
    else:
        raise AssertionError(f"passed: {twice}")
