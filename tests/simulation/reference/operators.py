"""What each operator does, from semantics.md c.4 to c.9."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batuta.model.change import Failure
from batuta.model.execution import TaskStatus
from tests.simulation.generate.script import run_jq, to_text
from tests.simulation.generate.script import run_script as evaluate
from tests.simulation.reference import dag
from tests.simulation.reference.fact import UncoveredError
from tests.simulation.reference.reopening import waited

if TYPE_CHECKING:
    from tests.simulation.reference.machine import Machine
    from tests.simulation.reference.made import Made


def _complete(machine: "Machine", made: "Made") -> None:
    machine.end(made, TaskStatus.COMPLETED)


def _wait(_machine: "Machine", _made: "Made") -> None:
    """Leave it open: it is looked at when nothing else moves."""


def _set_variables(machine: "Machine", made: "Made") -> None:
    machine.variables.update(made.input)
    _complete(machine, made)


def _terminate(machine: "Machine", made: "Made") -> None:
    made.output = made.input.get("workflowOutput", {})
    _complete(machine, made)


def begin_script(machine: "Machine", made: "Made") -> None:
    """Run a script, unless the delay of a retry comes first."""
    is_now = made.retry == 0 or not machine.is_delayed
    if is_now or machine.policy(made).delay_seconds == 0:
        run_script(machine, made)


def run_script(machine: "Machine", made: "Made") -> None:
    """INLINE, LAMBDA and JSON_JQ_TRANSFORM: end by what the script gives."""
    values, kind = made.input, made.node.type
    failed = TaskStatus.FAILED
    if kind == "JSON_JQ_TRANSFORM":
        found = run_jq(values["queryExpression"], values)
        output = {} if isinstance(found, Failure) else {"result": found[0], "resultList": found}
    else:
        if kind == "LAMBDA":
            found = evaluate(values["scriptExpression"], values)
        else:
            failed = TaskStatus.FAILED_WITH_TERMINAL_ERROR
            found = _inline(values)
        output = {"result": found}
    if isinstance(found, Failure):
        made.output = {"error": found.message}
        machine.end(made, failed)
    else:
        made.output = output
        _complete(machine, made)


def _inline(values: dict[str, Any]) -> Any:
    source = values["expression"]
    if values.get("evaluatorType") == "value-param":
        return values.get(source)
    if source == "$.n == 1":
        return values.get("n") in (1, "1") and values.get("n") is not True
    return evaluate(source, values)


def _switch(machine: "Machine", made: "Made") -> None:
    node, values = made.node, made.input
    if node.evaluator_type == "javascript" or node.case_expression:
        value = evaluate(node.expression or node.case_expression or "", values)
    else:
        value = values.get(node.expression or node.case_value_param or "")
    text = to_text(value)
    is_switch = node.type == "SWITCH"
    made.output = (
        {"evaluationResult": [text], "selectedCase": text} if is_switch else {"caseOutput": [text]}
    )
    case = node.decision_cases.get(text)
    # A SWITCH's empty case runs nothing; a DECISION's is as none at all.
    if case is None or (not case and node.type == "DECISION"):
        made.case = _DEFAULT if node.default_case else None
    elif case:
        made.case = text
    _complete(machine, made)


_DEFAULT = "\0default"  # no case has this name, so the default's list is taken


def _dynamic(machine: "Machine", made: "Made") -> None:
    name = made.input.get(made.node.dynamic_task_name_param or "")
    if not name:
        machine.end(made, TaskStatus.FAILED)


def _join(_machine: "Machine", made: "Made") -> None:
    if not made.joins:
        made.joins = tuple(name + made.suffix for name in made.node.join_on)


def _joined(machine: "Machine", made: "Made") -> "list[Made]":
    waited = [machine.latest.get(name) for name in made.joins]
    return [one for one in waited if one is not None and one.has_been_passed]


def check_join(machine: "Machine", made: "Made") -> bool:
    """Decide a JOIN when all it waits for has ended. Source: semantics.md c.4."""
    ended = _joined(machine, made)
    if len(ended) < len(made.joins):
        return False
    end_as(machine, made, ended)
    return True


def end_as(machine: "Machine", made: "Made", ended: "list[Made]") -> None:
    """End a JOIN or a DAG as the tasks ended that it stands for."""
    made.output = {one.name: one.output for one in ended if one.output}
    failed = [one for one in ended if not one.status.is_successful]
    if failed:
        is_canceled = all(one.status is TaskStatus.CANCELED for one in failed)
        machine.end(made, TaskStatus.CANCELED if is_canceled else TaskStatus.FAILED)
    elif any(one.status is TaskStatus.COMPLETED_WITH_ERRORS for one in ended):
        machine.end(made, TaskStatus.COMPLETED_WITH_ERRORS)
    else:
        _complete(machine, made)


def check_exclusive(machine: "Machine", made: "Made") -> bool:
    """Decide an EXCLUSIVE_JOIN by the first of its tasks that there is."""
    for names in (made.node.join_on, made.node.default_exclusive_join_task):
        for name in names:
            one = machine.latest.get(name + made.suffix)
            if one is None or one.status is TaskStatus.SKIPPED:
                continue
            if one.is_open or not one.is_followed:
                return False
            if one.status.is_successful:
                made.output = one.output
                _complete(machine, made)
            else:
                machine.end(made, TaskStatus.FAILED)  # a permissive one; it gives nothing
            return True
    return False


def fail_stuck(machine: "Machine") -> None:
    """End the JOIN that can never be decided, where Conductor would wait for ever."""
    joins = [m for m in machine.made if m.is_open and m.node.type not in {"DO_WHILE", "DAG"}]
    if not joins:
        raise UncoveredError("nothing can move")
    for made in reversed(joins):
        names = waited(made)
        if any(name not in machine.latest for name in names):
            made.reason = "never reached"
            if made.node.type == "JOIN":
                latest = (machine.latest.get(name) for name in names)
                found = [one for one in latest if one is not None and not one.is_open]
                made.output = {one.name: one.output for one in found if one.output}
            machine.end(made, TaskStatus.FAILED)
            return
    raise UncoveredError("JOINs that wait for each other")


def _members(machine: "Machine", loop: "Made", suffix: str) -> "list[Made]":
    """Return the latest attempts of one pass, without those of loops inside."""
    name = loop.node.task_reference_name
    return [
        made
        for made in machine.latest.values()
        if made.suffix == suffix and made.place.loops[-1:] == (name,)
    ]


def check_loop(machine: "Machine", made: "Made") -> bool:
    """Begin the next pass or end the loop, once its pass is over. Source: semantics.md c.5."""
    suffix = f"{made.suffix}__{made.iteration}"
    members = _members(machine, made, suffix) if made.iteration else []
    if any(one.is_open or not (one.is_followed or one.is_retried) for one in members):
        waiting = [one for one in members if one.is_open or one.status is not TaskStatus.SKIPPED]
        if any(one.is_open or not (one.is_followed or one.is_retried) for one in waiting):
            return False
    failed = [one for one in members if not one.status.is_successful and one.node.permissive]
    if failed:
        made.output = loop_output(machine, made)
        machine.end(made, TaskStatus.FAILED)
        return True
    kept = made.input.get("keepLastN")
    if kept and made.iteration > kept:
        _drop_pass(machine, made, f"{made.suffix}__{made.iteration - kept}")
    if not _has_next(machine, made):
        made.output = loop_output(machine, made)
        _complete(machine, made)
        return True
    made.iteration += 1
    machine.schedule(made.node.loop_over[0], f"{made.suffix}__{made.iteration}")
    return True


def _drop_pass(machine: "Machine", loop: "Made", suffix: str) -> None:
    name = loop.node.task_reference_name
    for made in list(machine.made):
        is_inside = name in made.place.loops
        if is_inside and (made.suffix == suffix or made.suffix.startswith(suffix + "__")):
            machine.forget(made)


def _items(machine: "Machine", made: "Made") -> list[Any] | None:
    given = made.node.items
    found = machine.resolve(given) if given else made.input.get("_items")
    if not given and "_items" not in made.input:
        return None
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def _has_next(machine: "Machine", made: "Made") -> bool:
    items = _items(machine, made)
    if items is not None and made.iteration >= len(items):
        return False
    if made.iteration == 0:
        return True
    condition = made.node.loop_condition or ""
    simple = condition.partition("['iteration'] < ")[2]
    if simple:
        return made.iteration < int(simple.partition(")")[0])
    state = {made.node.task_reference_name: {"iteration": made.iteration}}
    return bool(evaluate(condition, state))


def loop_output(machine: "Machine", made: "Made") -> dict[str, Any]:
    """Return what a loop gives: its passes, each with what its tasks gave."""
    output: dict[str, Any] = {"iteration": made.iteration}
    items = _items(machine, made)
    if items is not None and made.iteration:
        index = made.iteration - 1
        output |= {"loopIndex": index, "loopItem": items[index] if index < len(items) else None}
    kept = made.input.get("keepLastN") or made.iteration
    for number in range(max(made.iteration - kept, 0) + 1, made.iteration + 1):
        members = _members(machine, made, f"{made.suffix}__{number}")
        output[str(number)] = {one.node.task_reference_name: one.output for one in members}
    return output


def _no_forks(machine: "Machine", made: "Made") -> None:
    from tests.simulation.reference.fan_out import begin

    begin(machine, made)


BEGIN: "dict[str, Callable[[Machine, Made], None]]" = {
    "NOOP": _complete,
    "FORK_JOIN": _complete,
    "SET_VARIABLE": _set_variables,
    "TERMINATE": _terminate,
    "INLINE": begin_script,
    "LAMBDA": begin_script,
    "JSON_JQ_TRANSFORM": begin_script,
    "SWITCH": _switch,
    "DECISION": _switch,
    "DYNAMIC": _dynamic,
    "JOIN": _join,
    "EXCLUSIVE_JOIN": _wait,
    "DO_WHILE": _wait,
    "DAG": dag.begin,
    "FORK_JOIN_DYNAMIC": _no_forks,
}
CHECKS: "dict[str, Callable[[Machine, Made], bool]]" = {
    "JOIN": check_join,
    "EXCLUSIVE_JOIN": check_exclusive,
    "DO_WHILE": check_loop,
    "DAG": dag.check,
}
