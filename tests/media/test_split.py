"""Taking texts apart (S0.16), and reading times."""

import json
from typing import Any

import pytest

from batuta.workers.media.ai import Services
from batuta.workers.media.call import to_seconds
from batuta.workers.media.split import by_sentences
from tests.media.conftest import PARALLEL, do
from tests.media.providers import Providers

STORY = "One day. Two cats! Three dogs? Four birds. Five fish. Six ants."


@pytest.mark.parametrize("text", [["a", "b"], '["a", "b"]'])
async def test_s0_16_a_list_is_taken_as_it_is(services: Services, text: Any) -> None:
    done = await do(services, "split_text", {"text": text, "splitMode": "array"}, PARALLEL)

    assert done.output == {
        "segments": [
            {"index": 0, "text": "a", "duration": 10},
            {"index": 1, "text": "b", "duration": 10},
        ],
        "items": ["a", "b"],
        "totalSegments": 2,
        "nodeType": "split_text",
    }


@pytest.mark.parametrize("text", ["no list", '{"a": 1}', "7", None])
async def test_s0_16_what_is_no_list_is_refused(services: Services, text: Any) -> None:
    done = await do(services, "split_text", {"text": text, "splitMode": "array"})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == 'Split mode "array" requires array input'


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ("scenes", ["x", "y"]),
        ("$.scenes", ["x", "y"]),
        ("data[0].parts", ["1", '{"a":2}']),
        ("data.0.parts", ["1", '{"a":2}']),
    ],
)
@pytest.mark.parametrize("is_text", [True, False])
async def test_s0_16_a_list_is_found_by_its_path(
    services: Services, path: str, items: list[str], *, is_text: bool
) -> None:
    document = {"scenes": ["x", "y"], "data": [{"parts": [1, {"a": 2}]}]}
    text = json.dumps(document) if is_text else document

    done = await do(
        services, "split_text", {"text": text, "splitMode": "json_path", "arrayPath": path}
    )

    assert done.output["items"] == items


@pytest.mark.parametrize("path", ["nothing", "scenes.x", "data[9]", "name", "$..", "data[0]"])
@pytest.mark.parametrize("text", ['{"name": "n", "data": [{}]}', "no json"])
async def test_s0_16_a_path_that_leads_to_no_list_is_refused(
    services: Services, path: str, text: str
) -> None:
    done = await do(
        services, "split_text", {"text": text, "splitMode": "json_path", "arrayPath": path}
    )

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert done.reason == "Array path did not resolve to an array"


@pytest.mark.parametrize(
    "answer",
    [
        '["a", "b", "c"]',
        'Here you are:\n```json\n["a", "b", "c"]\n```',
        '{"segments": [{"text": "a"}, {"text": "b"}, {"text": "c"}]}',
        '["a", "b", "c", "d"]',
    ],
)
async def test_a_model_splits_a_text(services: Services, providers: Providers, answer: str) -> None:
    providers.text = answer

    done = await do(services, "split_text", {"text": STORY, "numSegments": "3"})

    assert done.output["items"] == ["a", "b", "c"]
    messages = providers.said("chat").body["messages"]
    assert messages[1] == {"role": "user", "content": STORY}
    assert "exactly 3" in messages[0]["content"]


@pytest.mark.parametrize("answer", ["I cannot do that.", "[1, 2]", "[", "[]", "[{]"])
async def test_where_a_model_gives_no_parts_sentences_are_counted(
    services: Services, providers: Providers, answer: str
) -> None:
    providers.text = answer

    done = await do(services, "split_text", {"text": STORY, "numSegments": 3})

    assert done.output["items"] == [
        "One day. Two cats!",
        "Three dogs? Four birds.",
        "Five fish. Six ants.",
    ]


def test_a_text_with_few_sentences_is_split_at_words() -> None:
    assert by_sentences("a b c d", 2) == ["a b", "c d"]
    assert by_sentences("a", 3) == ["a"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"text": " "}, "there is no text to split"),
        ({"text": "a", "splitMode": "half"}, "splitMode is 'half'"),
        ({"text": "a", "numSegments": 0}, "numSegments is 0"),
        ({"text": "a", "numSegments": 1e9}, "numSegments is"),
        ({"text": "a", "numSegments": "many"}, 'numSegments is "many"'),
        ({"text": "a", "numSegments": True}, "numSegments is true"),
    ],
)
async def test_what_cannot_be_split_is_said(
    services: Services, config: dict[str, Any], why: str
) -> None:
    done = await do(services, "split_text", config)

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert why in (done.reason or "")


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (5, 5),
        (2.5, 2.5),
        ("5", 5),
        ("5 seconds", 5),
        ("10s", 10),
        ("1 second", 1),
        ("5 sec", 5),
        ("2 min", 120),
        ("1.5 Minutes", 90),
        ("500 ms", 0.5),
        ("0:05", 5),
        ("1:30", 90),
        ("01:00:01.5", 3601.5),
    ],
)
def test_times_are_read_as_people_write_them(given: Any, seconds: float) -> None:
    assert to_seconds(given) == seconds


@pytest.mark.parametrize("given", ["", None, "soon", "5 parsecs", "-5", True, [], float("nan")])
def test_what_is_no_time_is_none(given: Any) -> None:
    assert to_seconds(given) is None


@pytest.mark.parametrize("duration", ["soon", 0, -1, "9000 minutes", True])
async def test_a_duration_that_is_none_is_refused_before_anything_is_paid_for(
    services: Services, providers: Providers, duration: Any
) -> None:
    done = await do(services, "text_to_video", {"prompt": "x", "duration": duration})

    assert done.status == "FAILED_WITH_TERMINAL_ERROR"
    assert (done.reason or "").startswith("duration is ")
    assert providers.seen == []


async def test_a_text_that_nobody_could_read_is_refused(
    services: Services, providers: Providers
) -> None:
    done = await do(services, "text_to_text", {"prompt": "x" * 1_000_001})

    assert done.reason == "prompt is longer than 1,000,000 characters"
    assert providers.seen == []
