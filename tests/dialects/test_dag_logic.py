"""JSON Logic by the examples of jsonlogic.com, and what it refuses."""

from typing import Any

import pytest

from batuta.dialects.dag.logic import DEPTH_MAX, LogicError, evaluate
from batuta.dialects.dag.text import rendered

DATA = {"a": {"b": 7}, "list": [1, 2, 3], "name": "Ada", "none": None, "empty": []}


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"==": [1, "1"]}, True),
        ({"===": [1, "1"]}, False),
        ({"!=": [1, 2]}, True),
        ({"!==": [1, "1"]}, True),
        ({"!": [[]]}, True),
        ({"!!": ["0"]}, True),
        ({"!": True}, False),
        ({">": [{"var": "a.b"}, 5]}, True),
        ({"<": [1, {"var": "a.b"}, 10]}, True),
        ({"<=": [1, 1, 0]}, False),
        ({">": [{"var": "gone"}, 5]}, False),
        ({"<": ["9", 10]}, True),
        ({"and": [True, {">": [3, 1]}]}, True),
        ({"and": [1, 0, 2]}, 0),
        ({"or": [False, [], "a"]}, "a"),
        ({"if": [False, "x", True, "y", "z"]}, "y"),
        ({"if": [False, "x", "z"]}, "z"),
        ({"if": [False, "x"]}, None),
        ({"?:": [True, 1, 2]}, 1),
        ({"var": ["gone", 4]}, 4),
        ({"var": ""}, DATA),
        ({"var": "list.1"}, 2),
        ({"var": "none"}, None),
        ({"missing": ["a", "x"]}, ["x"]),
        ({"missing_some": [1, ["a", "x"]]}, []),
        ({"missing_some": [2, ["a", "x"]]}, ["x"]),
        ({"max": [1, 3, 2]}, 3),
        ({"min": [3, 1]}, 1),
        ({"+": [1, "2", 3]}, 6),
        ({"+": ["3.5"]}, 3.5),
        ({"-": [5]}, -5),
        ({"-": [5, 2]}, 3),
        ({"*": [2, 3, 4]}, 24),
        ({"/": [9, 2]}, 4.5),
        ({"%": [101, 2]}, 1),
        ({"in": ["d", {"var": "name"}]}, True),
        ({"in": [2, {"var": "list"}]}, True),
        ({"in": ["2", {"var": "list"}]}, False),
        ({"cat": ["I am ", {"var": "name"}, 1.0]}, "I am Ada1"),
        ({"substr": ["jsonlogic", 4]}, "logic"),
        ({"substr": ["jsonlogic", -5]}, "logic"),
        ({"substr": ["jsonlogic", 1, 3]}, "son"),
        ({"substr": ["jsonlogic", 4, -2]}, "log"),
        ({"merge": [[1], 2, [3, 4]]}, [1, 2, 3, 4]),
        ({"map": [{"var": "list"}, {"*": [{"var": ""}, 2]}]}, [2, 4, 6]),
        ({"filter": [{"var": "list"}, {">": [{"var": ""}, 1]}]}, [2, 3]),
        (
            {"reduce": [{"var": "list"}, {"+": [{"var": "current"}, {"var": "accumulator"}]}, 0]},
            6,
        ),
        ({"all": [{"var": "list"}, {">": [{"var": ""}, 0]}]}, True),
        ({"all": [{"var": "empty"}, True]}, False),
        ({"some": [{"var": "list"}, {">": [{"var": ""}, 2]}]}, True),
        ({"none": [{"var": "list"}, {">": [{"var": ""}, 5]}]}, True),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}),
        ({"log": "x"}, "x"),
        ("text", "text"),
    ],
)
def test_a_rule_gives_what_the_reference_says(rule: Any, value: Any) -> None:
    found = evaluate(rule, DATA)

    assert found == value
    assert isinstance(found, bool) is isinstance(value, bool)


def _deep(levels: int) -> Any:
    rule: Any = True
    for _ in range(levels):
        rule = {"!": [rule]}
    return rule


@pytest.mark.parametrize(
    "rule",
    [
        {"no_such": 1},
        {"missing_some": [1]},
        {"max": []},
        {"in": []},
        _deep(DEPTH_MAX + 1),
        {
            "map": [
                {"var": "many"},
                {"map": [{"var": "inner"}, {"map": [[1] * 1_000, {"var": ""}]}]},
            ]
        },
    ],
)
def test_a_rule_that_cannot_be_evaluated_says_so(rule: Any) -> None:
    data = {"many": [{"inner": list(range(1_000))}] * 1_000}

    with pytest.raises(LogicError):
        evaluate(rule, data)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ a.b }}", "7"),
        ("{{list[2]}}", "3"),
        ("{{a['b']}}", "7"),
        ("{{gone}}{{list[9]}}{{none}}", ""),
        ("{{a}}", '{"b":7}'),
        ("{{list}}", "[1,2,3]"),
        ("{{ {{", "{{ {{"),
    ],
)
def test_a_template_shows_what_the_payload_has(template: str, text: str) -> None:
    assert rendered(template, DATA) == text
