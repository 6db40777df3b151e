"""What generic workers, people and callers give: made up from how a definition reads it.

Whatever `${...}` a definition reads from a task's output or from the run's input is there, of the
kind that its reader needs: a case of the switch that reads it, a small number for a loop, tasks
for a dynamic fork, else a text. ``variant`` picks the case, so that each variant takes another
way; beyond the last case it is a word that no switch knows.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from tests.corpus.expression import EXPRESSION, STEP

Json = dict[str, Any]
LOOP_COUNT = 2
_DYNAMIC = "generic_branch"


class Plan(msgspec.Struct):
    """What is given: the run's input, and the output of each node by its reference name.

    ``failing``: the nodes whose worker reports a failure that no retry mends.
    """

    input: Json
    outputs: dict[str, Json]
    failing: frozenset[str] = frozenset()


class _Use(msgspec.Struct):
    """One place where a definition reads something, and what it needs to find there."""

    path: str
    role: str = "text"
    cases: tuple[str, ...] = ()


def plan_of(definition: Json, variant: int = 0) -> Plan:
    """Make up what a definition's workers and its caller give."""
    root: Json = {}
    uses = sorted(_uses(definition), key=lambda use: (use.role != "text", len(use.path)))
    for use in uses:
        steps = [step.strip(".[]'") for step in STEP.findall(f".{use.path}") if "(" not in step]
        _put(root, steps, _value(use, steps[-1], variant))
    for name in definition.get("inputParameters") or ():
        root.setdefault("workflow", {}).setdefault("input", {}).setdefault(name, f"some {name}")
    given = root.pop("workflow", {}).get("input")
    outputs = {
        name: found["output"]
        for name, found in root.items()
        if isinstance(found, dict) and isinstance(found.get("output"), dict)
    }
    return Plan(input=given if isinstance(given, dict) else {}, outputs=outputs)


def all_tasks(tasks: list[Json]) -> Iterator[Json]:
    """Yield the nodes of a list and of the lists inside; not those of inline sub-workflows."""
    for task in tasks or ():
        yield task
        for inner in (
            *(task.get("decisionCases") or {}).values(),
            task.get("defaultCase") or [],
            *(task.get("forkTasks") or []),
            task.get("loopOver") or [],
        ):
            yield from all_tasks(inner)


def inline_children(definition: Json) -> Iterator[Json]:
    """Yield the definitions that a definition brings along for its sub-workflows, at any depth."""
    for task in all_tasks(definition["tasks"]):
        inline = (task.get("subWorkflowParam") or {}).get("workflowDefinition")
        if isinstance(inline, dict):
            yield inline
            yield from inline_children(inline)


def _uses(definition: Json) -> Iterator[_Use]:
    yield from (_Use(path) for path in _paths(definition.get("outputParameters")))
    for task in all_tasks(definition["tasks"]):
        special = dict(_roles(task))
        for key, value in (task.get("inputParameters") or {}).items():
            use = special.get(key)
            for path in _paths(value):
                is_whole = isinstance(value, str) and EXPRESSION.fullmatch(value)
                if use is not None and is_whole:
                    yield msgspec.structs.replace(use, path=path)
                elif task.get("type") == "DO_WHILE":
                    yield _Use(path, "number")
                else:
                    yield _Use(path)
        params = dict(task.get("subWorkflowParam") or {})
        inline = params.pop("workflowDefinition", None)
        yield from (_Use(path) for path in _paths(params))
        if isinstance(inline, str):
            yield from (_Use(path, "definition") for path in _paths(inline))


def _roles(task: Json) -> Iterator[tuple[str, _Use]]:
    """Yield what a node needs in which of its inputs."""
    cases = tuple(task.get("decisionCases") or ())
    named = {
        task.get("caseValueParam"): _Use("", "case", cases),
        task.get("dynamicTaskNameParam"): _Use("", "name"),
        task.get("dynamicForkTasksParam"): _Use("", "tasks"),
        task.get("dynamicForkTasksInputParamName"): _Use("", "inputs"),
    }
    if task.get("evaluatorType") == "value-param":
        named[task.get("expression")] = _Use("", "case", cases)
    if task.get("type") == "FORK_JOIN_DYNAMIC":
        named["forkTaskInputs"] = _Use("", "items")
    yield from ((name, use) for name, use in named.items() if name)


def _value(use: _Use, name: str, variant: int) -> Any:
    match use.role:
        case "case":
            word = use.cases[variant] if variant < len(use.cases) else "none of them"
            return {"true": True, "false": False}.get(word, word)
        case "number":
            return LOOP_COUNT
        case "name":
            return _DYNAMIC
        case "tasks":
            return [_branch(number) for number in (1, 2)]
        case "inputs":
            return {f"{_DYNAMIC}_{number}": {"number": number} for number in (1, 2)}
        case "items":
            return [{"number": 1}, {"number": 2}]
        case "definition":
            return {"name": "made_up", "version": 1, "tasks": [_branch(1)]}
    return f"some {name}"


def _branch(number: int) -> Json:
    reference_name = f"{_DYNAMIC}_{number}"
    return {"name": _DYNAMIC, "taskReferenceName": reference_name, "type": "SIMPLE"}


def _paths(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from EXPRESSION.findall(value)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _paths(item)


def _put(root: Json, steps: list[str], value: Any) -> None:
    """Put a value where a path leads; a longer path makes objects or lists of what is there."""
    holder: Any = root
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if following is None:
            made: Any = value
        else:
            made = [] if following.isdigit() else {}
        if isinstance(holder, list):
            place = int(step) if step.isdigit() else 0
            holder.extend({} for _ in range(place + 1 - len(holder)))
            step = place  # noqa: PLW2901  of a list
            known: Any = holder[place]
        else:
            known = holder.get(step)
        if (
            following is None
            or not isinstance(known, dict | list)
            or (isinstance(made, list) and not isinstance(known, list))
        ):
            holder[step] = made
        holder = holder[step]
