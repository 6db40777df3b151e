"""Definitions at random: any operator in any other."""

import itertools
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st

from tests.scenario.driver import expand

DEPTH_MAX = 3
PLAIN = (
    *("SIMPLE", "SIMPLE", "WAIT", "SET_VARIABLE", "SUB_WORKFLOW", "TERMINATE", "HUMAN", "NOOP"),
    *("INLINE", "LAMBDA", "JSON_JQ_TRANSFORM", "START_WORKFLOW", "DYNAMIC"),
)
CONTAINERS = (
    *("FORK_JOIN", "FORK_JOIN", "DO_WHILE", "DO_WHILE", "SWITCH", "DECISION"),
    *("FORK_JOIN_DYNAMIC", "FORK_JOIN_DYNAMIC"),
)
SCRIPTS = {"js()": 1, "(function () { return 1 })()": 1, ".x": [1, 2]}


class Builder:
    """Draws definitions: any operator, in any other, with names of its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.names = (f"t{number}" for number in itertools.count())
        self._loops: list[str] = []
        self._last: list[str] = []

    def tasks(self, depth: int, *, least: int = 1) -> list[dict[str, Any]]:
        count = self.draw(st.integers(least, 3))
        return [task for _ in range(count) for task in self.task(depth)]

    def task(self, depth: int) -> Iterator[dict[str, Any]]:
        kinds = [*PLAIN]
        if depth < DEPTH_MAX:
            kinds += CONTAINERS
        kind = self.draw(st.sampled_from(kinds))
        task: dict[str, Any] = {"ref": next(self.names), "type": kind}
        task["name"] = self.draw(st.sampled_from(["plain", "slow", "limited", "strict", "none"]))
        if kind != "TERMINATE":
            task["optional"] = self.draw(st.booleans())
        task["permissive"] = self.draw(st.integers(0, 5)) == 0
        task["startDelay"] = self.draw(st.sampled_from([0, 0, 0, 5]))
        yield {**task, **self.parts(kind, task["ref"], depth)}
        if kind == "FORK_JOIN":
            joins = {"type": "JOIN", "joinOn": self._join_on()}
            if self.draw(st.integers(0, 4)) == 0:
                joins |= {"type": "EXCLUSIVE_JOIN", "defaultExclusiveJoinTask": [task["ref"]]}
            yield {"ref": next(self.names), **joins}
        elif kind == "FORK_JOIN_DYNAMIC":
            yield {"ref": next(self.names), "type": "JOIN"}

    def parts(self, kind: str, ref: str, depth: int) -> dict[str, Any]:
        draw = self.draw
        match kind:
            case "FORK_JOIN":
                count = draw(st.integers(1, 3))
                branches = [self.tasks(depth + 1, least=0) for _ in range(count)]
                self._last = [branch[-1]["ref"] for branch in branches if branch]
                return {"forkTasks": branches}
            case "DO_WHILE":
                loop: dict[str, Any] = {"loopOver": self.tasks(depth + 1)}
                kept = draw(st.sampled_from([{}, {}, {"keepLastN": 1}, {"keepLastN": 2}]))
                items = draw(st.sampled_from([{}, {}, {"_items": [1, 2]}, {"_items": []}]))
                loop["in"] = {**kept, **items}
                if not items or draw(st.booleans()):
                    loop["loopCondition"] = f"$.{ref}.iteration < {draw(st.integers(0, 3))}"
                self._loops.append(ref)
                return loop
            case "SWITCH":
                cases = {"1": self.tasks(depth + 1, least=0), "2": self.tasks(depth + 1)}
                return {
                    "evaluatorType": "value-param",
                    "expression": "k",
                    "in": {"k": draw(st.sampled_from([1, 2, 3]))},
                    "decisionCases": cases,
                    "defaultCase": self.tasks(depth + 1, least=0),
                }
            case "DECISION":
                cases = {"x": self.tasks(depth + 1)}
                given_case = draw(st.sampled_from(["x", "y"]))
                return {"caseValueParam": "k", "in": {"k": given_case}, "decisionCases": cases}
            case "FORK_JOIN_DYNAMIC":
                return self._dynamic_fork(depth)
        return self._plain(kind, ref)

    def _plain(self, kind: str, ref: str) -> dict[str, Any]:
        draw = self.draw
        match kind:
            case "WAIT":
                return {"in": draw(st.sampled_from([{}, {"duration": "5s"}, {"duration": "?"}]))}
            case "SUB_WORKFLOW":
                child = draw(st.sampled_from(["child", "child", "gone"]))
                return {"subWorkflowParam": {"name": child}, "in": {"x": 1}}
            case "SET_VARIABLE":
                return {"in": {"v": "${workflow.variables.v}", "last": ref}}
            case "TERMINATE":
                status = draw(st.sampled_from(["COMPLETED", "FAILED", "TERMINATED", "?"]))
                return {"in": {"terminationStatus": status}}
            case "INLINE":
                return {"in": {"expression": draw(st.sampled_from(["1 < 2", "js()", "bad()", ""]))}}
            case "LAMBDA":
                return {"in": {"scriptExpression": draw(st.sampled_from(["return 1", "bad"]))}}
            case "JSON_JQ_TRANSFORM":
                return {"in": {"queryExpression": draw(st.sampled_from([".x", "bad"]))}}
            case "START_WORKFLOW":
                request = draw(st.sampled_from([{"name": "child"}, {"name": "gone"}, {}]))
                return {"in": {"startWorkflow": request}}
            case "DYNAMIC":
                name = draw(
                    st.sampled_from(["plain", "slow", "NOOP", "INLINE", "WAIT", "SWITCH", 1])
                )
                given = {"task": name, "expression": "js()", "duration": "5s"}
                return {"dynamicTaskNameParam": "task", "in": given}
            case "NOOP" | "HUMAN":
                return {}
        loop = draw(st.sampled_from([*self._loops, "none"]))
        return {"in": {"v": "${workflow.variables.last}", "pass": f"${{{loop}.output.iteration}}"}}

    def _dynamic_fork(self, depth: int) -> dict[str, Any]:
        draw = self.draw
        match draw(st.integers(0, 4)):
            case 0 | 1:
                tasks = [next(self.task(depth + 1)) for _ in range(draw(st.integers(0, 3)))]
                given = {"tasks": expand({"tasks": tasks})["tasks"], "inputs": {}}
                return {
                    "dynamicForkTasksParam": "tasks",
                    "dynamicForkTasksInputParamName": draw(st.sampled_from(["inputs"] * 4 + ["?"])),
                    "in": given,
                }
            case 2:
                names = [next(self.names) for _ in range(draw(st.integers(0, 2)))]
                listed = [{"taskName": "slow", "referenceName": name} for name in names]
                listed.append({"workflowName": "child", "referenceName": next(self.names)})
                given = {"them": {"dynamicTasks": listed}}
                return {"dynamicForkJoinTasksParam": "them", "in": given}
        items = draw(st.sampled_from([[], [1], [{"x": 1}, {"retryCount": 2, "permissive": True}]]))
        kinds = [{"forkTaskName": "plain"}, {"forkTaskType": "NOOP"}, {"forkTaskWorkflow": "child"}]
        return {"in": {"forkTaskInputs": items, **draw(st.sampled_from(kinds))}}

    def _join_on(self) -> list[str]:
        names = [*self._last, "typo"] if self.draw(st.integers(0, 9)) == 0 else self._last
        return [name for name in names if self.draw(st.integers(0, 4)) > 0]
