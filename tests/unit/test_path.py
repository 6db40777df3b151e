"""The paths inside ``${...}``, as Jayway's JSONPath reads them: semantics.md e, gotcha 55."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batuta.core.expression import path, path_filter, template
from batuta.core.expression.template import TemplateError
from batuta.model.payload import Payload

WORKFLOW = {
    "input": {
        "name": "kick",
        "count": 3,
        "ratio": 1.0,
        "on": True,
        "nothing": None,
        "key": "name",
        "at": 1,
        "odd key": {"a.b": "dotted"},
        "tree": {"x": 1, "sub": {"x": 2, "list": [{"x": 3}]}},
        "items": [
            {"x": 1, "kind": "a"},
            {"x": 2, "kind": "b", "note": None},
            {"x": 3, "kind": "a"},
            {"kind": "c", "x": "2"},
            5,
        ],
        "numbers": [4, 1, 2.5],
        "empty": [],
        "self": "${workflow.input.self}",
    },
    "variables": {"deep": {"list": [[1, 2], [3]]}},
    "status": "RUNNING",
    "workflowId": "w1",
    "version": 2,
}
TASK = {
    "output": {"result": {"ok": True}, "rows": [1, 2]},
    "status": "COMPLETED",
    "retryCount": 0,
}


class RunScope:
    """A run with one task ``a``, whose output the case may give."""

    task_id = None

    def __init__(self, output: Any = None) -> None:
        task = {"output": Payload.of(output or TASK["output"]), "status": "COMPLETED"}
        self.views = {"workflow": {"input": Payload.of(WORKFLOW["input"])}, "a": task}

    def lookup(self, root: str) -> dict[str, Any] | None:
        return self.views.get(root)

    def environment(self, name: str) -> None:
        assert name, "a name is never blank"


def resolve(value: Any, scope: RunScope | None = None) -> Any:
    return template.compile(value).resolve(scope or RunScope())


# gotcha 55: wildcards, scans and filters give a list, a missing definite path null.

ITEMS = WORKFLOW["input"]["items"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("items[*].x", [1, 2, 3, "2"]),
        ("items.*.kind", ["a", "b", "a", "c"]),
        ("items[*]", ITEMS),
        ("tree.*", [1, {"x": 2, "list": [{"x": 3}]}]),
        ("tree..x", [1, 2, 3]),
        ("tree..list[0]", [{"x": 3}]),
        ("tree..[0]", [{"x": 3}]),
        ("tree.sub..*", [2, [{"x": 3}], {"x": 3}, 3]),
        ("tree..['x','list']", [{"x": 1}, {"x": 2, "list": [{"x": 3}]}, {"x": 3}]),
        ("numbers[0:2]", [4, 1]),
        ("numbers[-2:]", [1, 2.5]),
        ("numbers[:1]", [4]),
        ("numbers[0,2,9]", [4, 2.5]),
        ("numbers[*][0]", []),
        ("name[*]", []),
        ("name[0:1]", []),
        ("name[0,1]", []),
        ("name[?(@.x)]", []),
        ("missing[*]", []),
        ("missing..x", []),
        ("empty[*].x", []),
        ("items[?(@.x > 1)].x", [2, 3]),
        ("items[?(@.x >= 2 && @.kind == 'a')].x", [3]),
        ('items[?(@.x < 2 || @.kind == "b")].x', [1, 2]),
        ("items[?(@.x <= 1)].x", [1]),
        ("items[?(@.kind > 'b')].kind", ["c"]),
        ("items[?(@.x == 2)].kind", ["b", "c"]),
        ("items[?('2' == @.x)].kind", ["b", "c"]),
        ("items[?(@.kind != 'a')].kind", ["b", "c"]),
        ("items[?(@.note)].x", [2]),
        ("items[?(@.note == null)].x", [2]),
        ("items[?(!(@.note) && @.kind)].x", [1, 3, "2"]),
        ("items[?(@.x in [1, 3])].x", [1, 3]),
        ("items[?(@.kind nin ['a', 'b'])]", [{"kind": "c", "x": "2"}, 5]),
        ("items[?(@.kind in 5)].x", []),
        ("items[?(@ == 5)]", [5]),
        ("items[?(@['x'] == 3.0)].x", [3]),
        ("items[?(@[\"kind\"] == 'b')].x", [2]),
        ("items[?(@.x == true)].x", []),
        ("items[?(3 == @.x)].x", [3]),
        ("items[?(@.x == '2.0')].x", []),
        ("items[?(@.kind == 'it\\'s')].x", []),
        ("items[?(@.length() == 2)].x", [1, 3, "2"]),
        ("tree.sub[?(@.list[0].x == 3)].x", [2]),
        ("tree.sub[?(@.list[7])].x", []),
        ("tree.sub[?(@.x == 9)].x", []),
        ("items[?(@.x in [])].x", []),
    ],
)
def test_wildcards_slices_and_filters_always_give_a_list(expression: str, expected: Any) -> None:
    assert resolve(f"${{workflow.input.{expression}}}") == expected


@pytest.mark.parametrize(
    "expression",
    [
        "missing",
        "missing.x.y",
        "name.x",
        "name[0]",
        "numbers[7]",
        "numbers[-9]",
        "numbers.x",
        "tree[0]",
        "name['a','b']",
        "name.length()",
        "missing.length()",
        "name.keys()",
        "empty.first()",
        "empty.max()",
        "empty.sum()",
        "empty.avg()",
    ],
)
def test_a_definite_path_that_finds_nothing_is_null(expression: str) -> None:
    assert resolve(f"${{workflow.input.{expression}}}") is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("numbers.length()", 3),
        ("tree.size()", 2),
        ("items[?(@.x)].length()", 4),
        ("tree.keys()", ["x", "sub"]),
        ("numbers.first()", 4),
        ("numbers.last()", 2.5),
        ("numbers.min()", 1),
        ("numbers.max()", 4),
        ("numbers.sum()", 7.5),
        ("numbers.avg()", 2.5),
        ("tree['x','none']", {"x": 1}),
    ],
)
def test_functions_end_a_path(expression: str, expected: Any) -> None:
    assert resolve(f"${{workflow.input.{expression}}}") == expected


def test_a_path_may_go_over_a_whole_root() -> None:
    assert resolve("${a..ok}") == [True]
    assert resolve("${a['status','none']}") == {"status": "COMPLETED"}
    assert resolve("${missing..ok}") == []
    assert resolve("${missing.output..ok}") == []
    assert resolve("${a[*].ok}") == []


@pytest.mark.parametrize(
    "expression",
    [
        "a.output.",
        "a..",
        "a.output[",
        "a.output[x]",
        "a.output['x'",
        "a.output['x',]",
        "a.output[0",
        "a b",
        "a.b c",
        "$name",
        "$",
        "$..x",
        "[0].x",
        "*.x",
        "length()",
        "a.output.length().x",
        "a.output.explode()",
        "a.output.length(1)",
        "a.output[?(@.x]",
        "a.output[?(@.x == )]",
        "a.output[?(@.x =~ /x/)]",
        "a.output[?((@.x)]",
        "a.output[?((@.x]",
        "a.output[?(@.x in [[1]])]",
        "a.output[?(@.x in [1)]",
        "a.output[?(" + "!" * 40 + "@.x)]",
        "a.output.b]",
        "a(",
        "a.output" + ".x" * path.PATH_TEXT_MAX,
    ],
)
def test_a_broken_path_is_null(expression: str) -> None:
    # semantics.md e: "errors -> null".
    compiled = template.compile(f"${{{expression}}}")

    assert compiled.is_constant
    assert compiled.constant is None
    assert path.parse_path(expression) is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *("a", "output", ".", "..", "[", "]", "*", "'x'", "0", "-1", ":", ",", "?(", ")"),
                *("@", "@.x", "==", "<", "in", "&&", "!", "1", "true", "length()", "$", " "),
            ]
        ),
        max_size=12,
    ).map("".join)
)
def test_no_path_text_fails_otherwise_than_by_being_null(expression: str) -> None:
    json.dumps(resolve(f"x ${{workflow.input{expression}}}"))


@pytest.mark.parametrize("expression", ["a.output..x", "a.output.rows[*][*]"])
def test_a_path_visits_nodes_to_a_limit(expression: str) -> None:
    rows = [[1] * 2 for _ in range(path.PATH_NODES_MAX // 2 + 1)]
    scope = RunScope({"rows": [*rows, *rows]})

    with pytest.raises(TemplateError, match="PATH_NODES_MAX"):
        resolve(f"${{{expression}}}", scope)


def test_a_filter_nests_to_a_limit() -> None:
    signs = "!" * path_filter.FILTER_DEPTH_MAX

    assert path.parse_path(f"a[?({signs}@.x)]") is not None
    assert path.parse_path(f"a[?(!{signs}@.x)]") is None
