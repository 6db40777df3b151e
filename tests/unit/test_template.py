"""``${...}`` as Conductor resolves it: semantics.md e and gotchas 52-56."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from batuta.core.expression import path, reader, template, text
from batuta.core.expression.template import Template, TemplateError
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
        "items": [{"x": 1}, {"x": 2, "kind": "b", "note": None}],
        "numbers": [4, 1, 2.5],
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


class View:
    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = {
            name: Payload.of(value) if name in ("input", "output", "variables") else value
            for name, value in fields.items()
        }

    def get(self, name: str) -> Any:
        return self.fields.get(name)


class RunScope:
    def __init__(
        self, task_id: str | None = "t1", environment: Mapping[str, str] | None = None
    ) -> None:
        self.task_id = task_id
        self.views = {"workflow": View(WORKFLOW), "a": View(TASK), "b-2_x": View(TASK)}
        self.names = dict(environment or {})

    def lookup(self, root: str) -> View | None:
        return self.views.get(root)

    def environment(self, name: str) -> str | None:
        return self.names.get(name)


def resolve(value: Any, scope: RunScope | None = None) -> Any:
    """Resolve and encode, for a result may hold carried bytes."""
    return msgspec.json.decode(
        msgspec.json.encode(template.compile(value).resolve(scope or RunScope()))
    )


def constant(value: Any) -> Template:
    compiled = template.compile(value)
    assert compiled.is_constant
    return compiled


# semantics.md e: whole string = exactly one expression gives the value with its type.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("${workflow.input.name}", "kick"),
        ("${ workflow.input.count }", 3),
        ("${workflow.input.on}", True),
        ("${workflow.input.nothing}", None),
        ("${workflow.input.tree.sub.list[0].x}", 3),
        ("${workflow.input['odd key']['a.b']}", "dotted"),
        ('${workflow["input"]["odd key"].[\'a.b\']}', "dotted"),
        ("${$.workflow.input.name}", "kick"),
        ("${$['workflow'].input.name}", "kick"),
        ("${['workflow'].input.name}", "kick"),
        ("${workflow.input.numbers[-1]}", 2.5),
        ("${workflow.input.numbers}", [4, 1, 2.5]),
        ("${workflow.variables.deep.list[0][1]}", 2),
        ("${workflow.status}", "RUNNING"),
        ("${workflow.version}", 2),
        ("${a.retryCount}", 0),
        ("${b-2_x.output.rows[1]}", 2),
        ("${a.output}", TASK["output"]),
        ("${workflow.input}", WORKFLOW["input"]),
    ],
)
def test_a_whole_expression_keeps_the_type_of_its_value(expression: str, expected: Any) -> None:
    assert resolve(expression) == expected


# semantics.md e: otherwise interpolation by text; null is "null", objects as in Java.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("run ${workflow.input.name}!", "run kick!"),
        ("${workflow.input.name}${workflow.input.count}", "kick3"),
        (" ${workflow.input.on}", " true"),
        ("= ${workflow.input.nothing}", "= null"),
        ("= ${missing.output.x}", "= null"),
        ("= ${workflow.input.ratio}", "= 1.0"),
        ("= ${a.output}", "= {result={ok=true}, rows=[1, 2]}"),
        ("= ${workflow.input.items[1]}", "= {x=2, kind=b, note=null}"),
        ("= ${a.output.rows}", "= [1, 2]"),
        ("= ${workflow.input.tree.sub.list}", "= [{x=3}]"),
        ("a${}b${  }c", "abc"),
    ],
)
def test_expressions_in_a_text_are_printed_as_java_prints_them(value: str, expected: str) -> None:
    assert resolve(value) == expected


@pytest.mark.parametrize("value", ["${}", "${   }"])
def test_a_blank_expression_is_an_empty_text(value: str) -> None:
    assert constant(value).constant == ""


# semantics.md e, gotcha 53: a doubled dollar escapes, and braces must balance.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("$${workflow.input.name}", "${workflow.input.name}"),
        ("$$${x}", "$${x}"),
        ("$${x} ${workflow.input.name}", "${x} kick"),
        ("$${x ${workflow.input.name}}", "${x kick}"),
        ("${workflow.input.name", "${workflow.input.name"),
        ("${a ${workflow.input.name}", "${a kick"),
        ("} ${workflow.input.name}", "} kick"),
        ("$ {x} $x {}", "$ {x} $x {}"),
        ("${" * 50, "${" * 50),
    ],
)
def test_escapes_and_unbalanced_braces_are_text(value: str, expected: str) -> None:
    assert resolve(value) == expected


def test_balancing_a_hostile_text_takes_linear_time() -> None:
    hostile = "${" * 200_000

    assert constant(hostile).constant == hostile


# semantics.md e: nested expressions resolve inside-out.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${workflow.input.${workflow.input.key}}", "kick"),
        ("${workflow.${workflow.input.missing}.x}", None),
        ("${workflow.input.items[${workflow.input.at}].x}", 2),
        ("${workflow.input.${workflow.input.key}} and ${a.${}output.rows[0]}", "kick and 1"),
        ("${${workflow.input.missing}}", None),
        ("${workflow.input.tree[${workflow.input.key}]}", None),
        ("${workflow.${}secrets.x}", "${workflow.secrets.x}"),
        ("${${a.status}.output}", None),
    ],
)
def test_an_expression_in_an_expression_is_resolved_first(value: str, expected: Any) -> None:
    # gotcha 53: nested `${a[${i}]}` works.
    assert resolve(value) == expected


def test_a_composed_path_to_a_whole_payload_is_carried_too() -> None:
    result = template.compile("${${}a.output}").resolve(RunScope())
    composed = template.compile("${a.${workflow.variables.deep.none}}").resolve(RunScope())

    assert isinstance(result, msgspec.Raw)
    assert composed is None


def test_a_result_is_never_looked_at_again() -> None:
    assert resolve("${workflow.input.self}") == "${workflow.input.self}"
    assert resolve("x${workflow.input.self}") == "x${workflow.input.self}"


# semantics.md e: anywhere in strings of maps and lists; map keys are not resolved.


def test_values_of_maps_and_lists_are_resolved_and_keys_are_not() -> None:
    value = {
        "${workflow.input.name}": 1,
        "z": ["${workflow.input.count}", {"deep": "${a.output.rows}"}, "plain"],
        "a": None,
    }

    result = resolve(value)

    assert result == {
        "${workflow.input.name}": 1,
        "z": [3, {"deep": [1, 2]}, "plain"],
        "a": None,
    }
    assert list(result) == list(value)


def test_what_holds_no_expression_is_returned_as_it_is_not_copied() -> None:
    compiled = template.compile({"fixed": {"list": [1, "x"]}, "moving": "${a.status}"})
    first, second = compiled.resolve(RunScope()), compiled.resolve(RunScope())

    assert not compiled.is_constant
    assert first is not second
    assert first["fixed"] is second["fixed"]
    assert constant({"a": [1, "$${b}"]}).constant == {"a": [1, "${b}"]}
    assert constant(7).resolve(RunScope()) == 7


def test_resolving_leaves_the_definition_as_it_was() -> None:
    value = {"a": ["${a.status}"]}

    template.compile(value).resolve(RunScope())

    assert value == {"a": ["${a.status}"]}


# The design: a carried payload is never decoded.


def test_a_whole_payload_is_carried_without_being_decoded() -> None:
    scope = RunScope()

    result = template.compile({"all": "${a.output}", "task": "${a}"}).resolve(scope)

    assert bytes(result["all"]) == msgspec.json.encode(TASK["output"])
    assert not scope.views["a"].fields["output"].is_decoded


def test_a_bare_root_is_the_map_of_its_fields() -> None:
    task, run = resolve("${a}"), resolve("${workflow}")

    assert task == {**dict.fromkeys(reader.TASK_FIELDS), **TASK}
    assert run == {**dict.fromkeys(reader.WORKFLOW_FIELDS), **WORKFLOW}
    assert resolve("= ${a}").startswith("= {input=null, output={result={ok=true}, rows=[1, 2]}")
    assert resolve("${missing}") is None


# semantics.md e, path order: secrets, workflow.env, system and environment names, paths.


def test_secrets_stay_literal() -> None:
    # gotcha 56: secrets are the only deferred root.
    compiled = constant({"key": "${workflow.secrets.token}", "as": "Bearer ${workflow.secrets.t}"})

    assert compiled.constant["key"] == "${workflow.secrets.token}"
    assert compiled.constant["as"] == "Bearer ${workflow.secrets.t}"
    assert compiled.references == ("workflow.secrets.token", "workflow.secrets.t")


def test_the_environment_of_workflows_has_a_prefix() -> None:
    scope = RunScope(
        environment={
            "CONDUCTOR_ENV_REGION": "eu",
            "CONDUCTOR_ENV_MAP": '{"a": [1, 2]}',
            "CONDUCTOR_ENV_TEXT": "not json",
        }
    )

    assert resolve("${workflow.env.REGION}", scope) == "eu"
    assert resolve("${workflow.env.MAP.a[1]}", scope) == 2
    assert resolve("${workflow.env.MAP.a.length()}", scope) == 2
    assert resolve("${workflow.env.TEXT.a}", scope) is None
    assert resolve("${workflow.env.OTHER.a}", scope) is None
    assert resolve("${workflow.env.[}", scope) is None


def test_only_allow_listed_environment_names_resolve() -> None:
    # gotcha 52: any path equal to an environment name resolves to it; ours only when allowed.
    assert resolve("${HOME}") is None
    assert resolve("${HOME}", RunScope(environment={"HOME": "/root"})) == "/root"
    assert resolve("${HOME}/x", RunScope(environment={"HOME": "/root"})) == "/root/x"
    assert resolve("${HOME.x}", RunScope(environment={"HOME": "/root"})) is None


def test_the_task_id_stays_literal_where_there_is_none() -> None:
    # gotcha 52: `${CPEWF_TASK_ID}` stays literal in SWITCH, SET_VARIABLE, SUB_WORKFLOW...
    value = ["${CPEWF_TASK_ID}", "id ${CPEWF_TASK_ID}"]

    assert resolve(value) == ["t1", "id t1"]
    assert resolve(value, RunScope(task_id=None)) == ["${CPEWF_TASK_ID}", "id ${CPEWF_TASK_ID}"]


def test_system_names_without_a_value_stay_literal() -> None:
    assert resolve("${NETFLIX_ENV}") == "${NETFLIX_ENV}"
    assert resolve("${NETFLIX_STACK}", RunScope(environment={"NETFLIX_STACK": "s"})) == "s"


def test_loop_tasks_are_not_visible_under_their_numbered_name() -> None:
    # gotcha 54: `${loopTask__1.output}` is null.
    assert resolve("${a__1.output}") is None


# What a definition asks for is known before it runs.


def test_the_roots_and_references_are_known_before_it_runs() -> None:
    compiled = template.compile(
        {
            "a": "${workflow.input.x} ${b.output}",
            "c": ["${c['output']}", "${CPEWF_TASK_ID}", "${workflow.env.X}"],
            "d": "${d.output.${e.output.key}}",
        }
    )

    assert compiled.roots == {"workflow", "b", "c", "d", "e"}
    assert not compiled.is_dynamic
    assert compiled.references == (
        *("workflow.input.x", "b.output", "c['output']", "CPEWF_TASK_ID", "workflow.env.X"),
        *("d.output.${e.output.key}", "e.output.key"),
    )


@pytest.mark.parametrize("value", ["${${a.status}.output}", "${ref_${a.retryCount}.output}"])
def test_a_root_chosen_at_run_time_is_said_to_be_so(value: str) -> None:
    compiled = template.compile(value)

    assert compiled.is_dynamic
    assert compiled.roots == {"a"}


# Every limit has a name, and the failure says it.


def test_expressions_nest_to_a_limit() -> None:
    within = "${a." * template.EXPRESSION_DEPTH_MAX + "b" + "}" * template.EXPRESSION_DEPTH_MAX
    beyond = f"${{a.{within}}}"

    assert resolve(within) is None
    with pytest.raises(TemplateError, match="EXPRESSION_DEPTH_MAX"):
        resolve(beyond)


def test_a_template_is_deep_to_a_limit() -> None:
    value: Any = "${a.status}"
    for _ in range(template.VALUE_DEPTH_MAX):
        value = [value]

    assert "COMPLETED" in json.dumps(resolve(value))
    with pytest.raises(TemplateError, match="VALUE_DEPTH_MAX"):
        resolve([value])


def test_a_text_grows_to_a_limit() -> None:
    scope = RunScope()
    scope.views["a"] = View({"output": {"big": "x" * (text.TEXT_MAX // 2)}})

    assert len(resolve("${a.output.big}${a.output.big}", scope)) == text.TEXT_MAX
    with pytest.raises(TemplateError, match="TEXT_MAX"):
        resolve("${a.output.big}${a.output.big}.", scope)


def test_a_value_shown_as_text_is_deep_to_a_limit() -> None:
    deep: Any = 1
    for _ in range(text.TEXT_DEPTH_MAX + 1):
        deep = [deep]
    scope = RunScope()
    scope.views["a"] = View({"output": {"deep": deep}})

    with pytest.raises(TemplateError, match="TEXT_DEPTH_MAX"):
        resolve("= ${a.output.deep}", scope)


def test_a_composed_path_has_a_length_limit_and_a_longer_one_is_not_kept() -> None:
    scope = RunScope()
    scope.views["a"] = View({"output": {"key": "x" * path.PATH_TEXT_MAX}})
    before = reader._cached_reader.cache_info().currsize

    assert resolve("${a.output.${a.output.key}}", scope) is None
    assert reader._cached_reader.cache_info().currsize == before


@pytest.mark.parametrize(
    "text",
    [
        "${x}",
        "$${x}",
        "$$${x}",
        "${",
        "$",
        "}${",
        "a ${b ${c}} d",
        "${${x}}",
        "$ {x}",
        "{${x}",
        "$$",
    ],
)
def test_what_is_escaped_comes_back_as_it_was(text: str) -> None:
    value = {text: [text, {"deep": text, "n": 1, "none": None}]}

    compiled = template.compile(template.escaped(value))

    assert compiled.is_constant
    assert compiled.constant == value
