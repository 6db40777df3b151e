"""Lists in a config: S0.11 to S0.14 as functions of data, and their edges."""

from typing import Any

import pytest

from batuta.workers.media.fan_out import (
    CALLS_MAX,
    FanOutError,
    join_prompts,
    merged,
    plan,
    with_last_outputs,
)
from batuta.workers.media.nodes import NODE_TYPES

PARALLEL = {"mode": "parallel"}
ALL = {"mode": "parallel", "waitForAll": True, "aggregateItems": True}
TEXT, IMAGE, FILM = (NODE_TYPES[name] for name in ("text_to_text", "text_to_image", "edit_video"))


def test_a_config_without_lists_is_one_call() -> None:
    asked = plan(TEXT, {"prompt": "a", "model": "m"}, PARALLEL)

    assert (asked.configs, asked.count) == (({"prompt": "a", "model": "m"},), None)
    assert merged(TEXT, asked, [{"text": "x"}]) == {"text": "x", "nodeType": "text_to_text"}


def test_s0_11_a_list_is_one_call_for_each_element() -> None:
    asked = plan(TEXT, {"prompt": ["a", "b", "c"], "model": "m"}, PARALLEL)

    assert [one["prompt"] for one in asked.configs] == ["a", "b", "c"]
    assert all(one["model"] == "m" for one in asked.configs)
    assert asked.is_parallel
    outputs = [{"text": text, "tokens": 1} for text in "xyz"]
    assert merged(TEXT, asked, outputs) == {
        "items": outputs,
        "text": ["x", "y", "z"],
        "tokens": [1, 1, 1],
        "itemsCount": 3,
        "nodeType": "text_to_text",
    }


def test_lists_go_side_by_side() -> None:
    asked = plan(IMAGE, {"prompt": ["a", "b"], "aspectRatio": ["1:1", "9:16"]}, {})

    assert [(one["prompt"], one["aspectRatio"]) for one in asked.configs] == [
        ("a", "1:1"),
        ("b", "9:16"),
    ]


@pytest.mark.parametrize("execution", [None, {}, {"mode": "sequential"}, {"mode": 7}, "x", []])
def test_what_does_not_say_parallel_is_sequential(execution: Any) -> None:
    asked = plan(TEXT, {"prompt": ["a", "b"]}, execution)

    assert (asked.is_parallel, asked.is_aggregated) == (False, False)


def test_s0_12_lists_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(FanOutError) as caught:
        plan(IMAGE, {"prompt": ["a", "b"], "size": ["x"]}, PARALLEL)

    assert str(caught.value) == "Array inputs must be the same length"


def test_s0_13_aggregated_lists_are_one_call_with_items() -> None:
    asked = plan(FILM, {"videoUrl": ["v0", "v1"], "speechUrl": ["s0", "s1"], "musicUrl": "m"}, ALL)

    [config] = asked.configs
    assert config["musicUrl"] == "m"
    assert "videoUrl" not in config
    assert [(one["videoUrl"], one["speechUrl"]) for one in config["items"]] == [
        ("v0", "s0"),
        ("v1", "s1"),
    ]
    found = merged(FILM, asked, [{"videoUrl": "out"}])
    assert found == {"videoUrl": "out", "itemsCount": 2, "nodeType": "edit_video"}


@pytest.mark.parametrize("missing", ["waitForAll", "aggregateItems"])
def test_only_both_switches_aggregate(missing: str) -> None:
    asked = plan(TEXT, {"prompt": ["a"]}, {**ALL, missing: False})

    assert not asked.is_aggregated
    assert len(asked.configs) == 1


def test_an_empty_list_is_no_call_at_all() -> None:
    asked = plan(TEXT, {"prompt": []}, PARALLEL)

    assert merged(TEXT, asked, []) == {"items": [], "itemsCount": 0, "nodeType": "text_to_text"}


def test_a_key_that_some_outputs_lack_keeps_its_places() -> None:
    asked = plan(TEXT, {"prompt": ["a", "b"]}, PARALLEL)

    assert merged(TEXT, asked, [{"text": "x"}, {"note": "n"}])["text"] == ["x", None]


def test_more_elements_than_anybody_would_pay_for_are_refused() -> None:
    with pytest.raises(FanOutError, match=f"{CALLS_MAX} calls at most"):
        plan(TEXT, {"prompt": ["a"] * (CALLS_MAX + 1)}, PARALLEL)


@pytest.mark.parametrize(
    ("node", "key", "more"),
    [
        ("upload_files", "files", {}),
        ("clip_merger", "clips", {}),
        ("edit_video", "items", {}),
        ("split_text", "text", {"splitMode": "array"}),
        ("split_text", "text", {"splitMode": "json_path"}),
    ],
)
def test_a_key_that_is_a_list_by_nature_is_not_fanned_out(
    node: str, key: str, more: dict[str, Any]
) -> None:
    asked = plan(NODE_TYPES[node], {key: ["a", "b"], **more}, PARALLEL)

    assert asked.count is None
    assert asked.configs[0][key] == ["a", "b"]


@pytest.mark.parametrize("mode", [{}, {"splitMode": "text"}, {"splitMode": None}])
def test_texts_that_a_model_splits_are_one_after_the_other(mode: dict[str, Any]) -> None:
    assert plan(NODE_TYPES["split_text"], {"text": ["a", "b"], **mode}, PARALLEL).count == 2


@pytest.mark.parametrize(
    ("prompts", "joined"),
    [
        ({"prompt": "a", "prompt2": "b"}, "a\n\nb"),
        ({"prompt": "a", "prompt2": "", "prompt3": None, "prompt4": "d"}, "a\n\nd"),
        ({"prompt2": "b"}, "b"),
        ({"prompt": ["a", "b"], "prompt2": "c"}, ["a\n\nc", "b\n\nc"]),
        ({"prompt": ["a", ""], "prompt2": ["", "d"]}, ["a", "d"]),
    ],
)
def test_s0_14_prompts_are_joined_with_a_blank_line(prompts: dict[str, Any], joined: Any) -> None:
    found = join_prompts({"concatPrompts": True, "model": "m", **prompts})

    assert found == {"concatPrompts": True, "model": "m", "prompt": joined}


def test_s0_14_prompts_stay_apart_unless_it_is_asked() -> None:
    config = {"prompt": "a", "prompt2": "b"}

    assert join_prompts(config) == config
    assert join_prompts({**config, "concatPrompts": "yes"})["prompt"] == "a"


def test_s0_14_lists_of_prompts_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(FanOutError) as caught:
        plan(TEXT, {"concatPrompts": True, "prompt": ["a", "b"], "prompt2": ["c"]}, PARALLEL)

    assert str(caught.value) == "Prompt arrays must be the same length"


def test_no_prompt_at_all_leaves_the_default_to_the_node() -> None:
    assert "prompt" not in join_prompts({"concatPrompts": True, "prompt": "", "prompt2": None})


def test_an_empty_key_takes_the_last_output_where_earlier_results_are_given() -> None:
    previous = [
        {"output": {"videoUrl": "v1", "audioUrl": "a1"}},
        {"output": {"videoUrl": ["v2", "v3"]}},
        {"output": None},
        "noise",
    ]

    assert with_last_outputs(FILM, {}, previous) == {"videoUrl": ["v2", "v3"], "speechUrl": "a1"}
    assert with_last_outputs(FILM, {"videoUrl": "mine"}, previous)["videoUrl"] == "mine"
    merger = NODE_TYPES["clip_merger"]
    assert with_last_outputs(merger, {}, previous) == {"clips": ["v1", "v2", "v3"]}
    assert with_last_outputs(FILM, {}, []) == {}
