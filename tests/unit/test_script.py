"""Which scripts are simple, what they give, and how they fail. DESIGN.md 4, semantics.md c.9."""

from typing import Any

import pytest

from batuta.core.expression import javascript, javascript_parse
from batuta.core.expression.script import (
    UNDEFINED,
    NotSimpleError,
    ScriptError,
    compile_script,
    is_true,
    to_java_text,
)


def value_of(script: str, **inputs: Any) -> Any:
    compiled = compile_script(script)
    assert compiled is not None, script
    return compiled.evaluate(lambda name: inputs.get(name, UNDEFINED))


@pytest.mark.parametrize(
    ("script", "inputs", "expected"),
    [
        ("$.a == 'x'", {"a": "x"}, True),
        ("$.loop['iteration'] < 3", {"loop": {"iteration": 2}}, True),
        ("if ($.i < 3) { true; } else { false; }", {"i": 3}, False),
        ("if ($.i < 3) 'low'; else if ($.i < 9) 'mid'; else 'high'", {"i": 5}, "mid"),
        ("if ($.i) { 1; }", {"i": 0}, None),
        ("1; if (false) { 2; }", {}, None),
        ("1; ;", {}, 1),
        ("(function(){ return $.a > 1 && $.b !== true; })();", {"a": 2}, True),
        ("(function named () { if ($.a) { return 'yes' } return 'no' }())", {"a": 0}, "no"),
        ("(function () { 1; })()", {}, None),
        ("(function () { return\n 1 })()", {}, None),
        ("(function () { if ($.a) { } else return 'x'; })()", {}, "x"),
        ("function e() { return $.n + 10; } e();", {"n": 5}, 15),
        ("function e() { return $.n }\ne() + e()", {"n": 2}, 4),
        ("({ at: $.t, 'n': [1.0, 2.5], gone: undefined })", {"t": 3}, {"at": 3, "n": [1, 2.5]}),
        ("[undefined, 1,]", {}, [None, 1]),
        ("$.list.length - 1", {"list": [1, 2]}, 1),
        ("$.list[$.list.length - 1]", {"list": [1, 2]}, 2),
        ("$.missing ?? 'other'", {}, "other"),
        ("'\\u{1F600}\\uD83D\\uDE00\\x41\\n\\0\\q'", {}, "\U0001f600\U0001f600A\n\0q"),
        ("'\U0001f600'.length + 'a\U0001f600b'.indexOf('b')", {}, 5),
        ("$.a // a comment\n /* and\n another */ + 1", {"a": 1}, 2),
        ("1\n2", {}, 2),
        ("$.a[0] + $.a.length", {"a": "xy"}, "x2"),
        ("$.m[$.k]", {"m": {"undefined": 1}}, 1),
        ("0.1 + 0.2 + ''", {}, "0.30000000000000004"),
        ("1e21 + '' + 1.5e-7 + -0 + 0.000001 + 123456789012345680000", {}, None),
        ("$.huge == Infinity && -1e999 < -5", {"huge": 10**400}, True),
    ],
)
def test_a_simple_form_has_the_value_of_its_last_expression(
    script: str, inputs: dict[str, Any], expected: Any
) -> None:
    if script.startswith("1e21"):
        expected = "1e+211.5e-700.000001123456789012345680000"

    assert value_of(script, **inputs) == expected


@pytest.mark.parametrize(
    "script",
    [
        "for (;;) {}",
        "while (true) {}",
        "var i = 1; i",
        "let r = 1",
        "$.a = 1",
        "$.a += 1",
        "$.a++",
        "i",
        "$",
        "$ == null",
        "$[0]",
        "$['a' + 'b']",
        "$.a()",
        "$.hasOwnProperty('a')",
        "$.constructor",
        "$.a.map(1)",
        "$.a.includes(1, 2)",
        "$.a.trim(1)",
        "$.a?.b",
        "$.a.[0]",
        "Math.max(1, 2)",
        "JSON.parse('1')",
        "new Date()",
        "/a/.test('a')",
        "`text`",
        "x => x",
        "(() => 1)()",
        "1n",
        "010",
        "1_000",
        "1.a",
        "'a\nb'",
        "'\\uD83D'",
        "'\\u12'",
        "'\\x1'",
        "'\\07'",
        "'\\8'",
        "'\\u{110000}'",
        "'open",
        "2 ** 3",
        "1 & 2",
        "'a' in {}",
        "1, 2",
        "[1,,2]",
        "[1 2]",
        "({1: 2})",
        "({'2': 2})",
        "({__proto__: 1})",
        "({a})",
        "({a: 1 b: 2})",
        "{ a: 1 }",
        "true || null ?? 1",
        "null ?? 1 && 2",
        "1 < !--2",
        "1 <!-- comment",
        "if (1) 2 else 3",
        "if 1 {}",
        "if (1",
        "1 2",
        "(1",
        "$.",
        "$.a.1",
        "return 1",
        "function e() { return 1 }",
        "function e(x) { return x } e(1)",
        "function $() { return 1 } $()",
        "function e() { return e() } e()",
        "function f() { return 1 } function g() { return 2 } f()",
        "(function e() { return 1 })",
        "(function $() { return $.a })()",
        "function e() { return 1 } (function e() { return 2 })()",
        "!" * 40 + "1",
        "(" * 40 + "1" + ")" * 40,
        "1" + "+1" * 300,
        "'" + "x" * javascript_parse.TEXT_MAX + "'",
        "\u00e9",
        "@",
    ],
)
def test_any_other_text_is_left_to_the_sandbox(script: str) -> None:
    compiled = compile_script(script)

    # A declaration alone has no value; it is the one that compiles.
    assert compiled is None or script == "function e() { return 1 }"


def test_the_names_of_the_input_are_known_before_it_runs() -> None:
    compiled = compile_script("$.a ? $['b'].c : function_name")
    simple = compile_script("$.a ? $['b'].c : $.d.a")

    assert compiled is None
    assert simple is not None
    assert simple.names == {"a", "b", "d"}


def test_only_the_names_the_evaluation_comes_to_are_asked_for() -> None:
    asked: list[str] = []
    compiled = compile_script("$.a && $.b || $.c")
    assert compiled is not None

    value = compiled.evaluate(lambda name: asked.append(name) or False)

    assert value is False
    assert asked == ["a", "c"]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("$.a.b", "TypeError: Cannot read property 'b' of undefined"),
        ("$.n.b", "TypeError: Cannot read property 'b' of null"),
        ("$.n.trim()", "TypeError: Cannot read property 'trim' of null"),
        ("$.o.trim()", "TypeError: trim is not a function"),
        ("$.l.trim()", "TypeError: trim is not a function"),
    ],
)
def test_a_property_of_nothing_fails_as_in_javascript(script: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message) as caught:
        value_of(script, n=None, o={}, l=[])

    assert not isinstance(caught.value, NotSimpleError)


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("script", "inputs"),
    [
        ("$.o.toString", {"o": {}}),
        ("$.o[$.k]", {"o": {}, "k": "constructor"}),
        ("$.t.bold", {"t": "x"}),
        ("$.l.map", {"l": []}),
        ("$.n.toFixed", {"n": 1}),
        ("$.t[0]", {"t": "\U0001f600"}),
        ("$.o + ''", {"o": {"toString": 1}}),
        ("$.t + $.t", {"t": "x" * javascript.CHARACTERS_MAX}),
        ("$.l + ''", {"l": nested(200)}),
        ("$.l", {"l": nested(200)}),
    ],
)
def test_values_that_lead_out_of_the_simple_forms_ask_for_the_sandbox(
    script: str, inputs: dict[str, Any]
) -> None:
    with pytest.raises(NotSimpleError):
        value_of(script, **inputs)


def test_a_long_text_of_digits_becomes_a_number_in_linear_time() -> None:
    assert value_of("$.t == 1", t="1" * 1_000_000 + "x") is False


def test_a_result_is_stringified_as_switch_does_it() -> None:
    # semantics.md c.9 SWITCH: result is stringified ("null","true","1").
    assert to_java_text(value_of("$.missing")) == "null"
    assert to_java_text(value_of("1 < 2")) == "true"
    assert to_java_text(value_of("$.n / 2", n=2)) == "1"


def test_undefined_shows_as_javascript_writes_it() -> None:
    assert repr(UNDEFINED) == "undefined"
    assert not is_true(UNDEFINED)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1e-3, "0.001"),
        (1e-4, "1.0E-4"),
        (-1.25e-7, "-1.25E-7"),
        (9999999.5, "9999999.5"),
        (1e7, "1.0E7"),
        (123456789.0, "1.23456789E8"),
        (1.5e300, "1.5E300"),
        (float("nan"), "NaN"),
        (float("inf"), "Infinity"),
        (float("-inf"), "-Infinity"),
        (10**20, "100000000000000000000"),
        ([None, False, "x", {"k": []}], "[null, false, x, {k=[]}]"),
        ({}, "{}"),
        ("as is", "as is"),
    ],
)
def test_numbers_and_structures_read_as_in_java(value: Any, expected: str) -> None:
    assert to_java_text(value) == expected
