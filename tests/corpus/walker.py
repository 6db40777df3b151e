"""Which tasks of a definition run, how each ends, and how the run does: worked out by hand.

A walk over the definition by the rules of contract/semantics.md (c and e), with none of the
engine's code: one task after the other, workers that never fail, branches one by one. What
depends on who is faster (the siblings of a branch that ends the run) is not predicted: then
``is_exact`` is False, and the trail holds what must have happened.
"""

from collections import Counter
from itertools import zip_longest
from typing import Any

import msgspec

from tests.corpus.expression import ScriptError, javascript, jq_first, resolve
from tests.corpus.plausible import Json, Plan

COMPLETED, FAILED = "COMPLETED", "FAILED"
FATAL = "FAILED_WITH_TERMINAL_ERROR"
Library = dict[tuple[str, int], Json]


class Prediction(msgspec.Struct):
    """The end of a run; ``trail`` counts (reference name, status)."""

    name: str
    status: str = COMPLETED
    trail: Counter[tuple[str, str]] = msgspec.field(default_factory=Counter)
    output: Json = {}
    children: "dict[str, Prediction]" = msgspec.field(default_factory=dict)
    is_exact: bool = True


class EndedError(Exception):
    """The run is over before its last task."""

    def __init__(self, status: str, output: Json | None = None) -> None:
        super().__init__(status)
        self.status = status
        self.output = output


class Walker:
    """Walks one run; ``plans`` say what workers answer, by the name of the workflow."""

    def __init__(self, library: Library, plans: dict[str, Plan], definition: Json) -> None:
        self._library = library
        self._plans = plans
        self._definition = definition
        self._found = Prediction(name=definition["name"])
        self._root: Json = {}
        self._last: Json = {}
        self._suffix = ""

    def walk(self, given: Json) -> Prediction:
        """Return how the run ends that is started with this input."""
        template = self._definition.get("inputTemplate") or {}
        self._root["workflow"] = {
            "input": {**template, **given} if given else given,
            "variables": dict(self._definition.get("variables") or {}),
            "workflowType": self._definition["name"],
            "version": self._definition.get("version", 1),
        }
        found, output = self._found, None
        try:
            self._list(self._definition["tasks"])
        except EndedError as ended:
            found.status, output = ended.status, ended.output
        if output is None:
            named = self._definition.get("outputParameters")
            output = resolve(named, self._root) if named else self._last
        found.output = output
        return found

    # -- lists and single tasks ----------------------------------------------------------------

    def _list(self, tasks: list[Json]) -> None:
        fork: Json | None = None
        for task, following in zip_longest(tasks, tasks[1:]):
            if fork is not None:
                self._dynamic_join(task, fork)
                fork = None
                continue
            try:
                fork = self._task(task)
            except EndedError:
                # Both wait when a task inside ends the run: they are cancelled with it.
                if task["type"] == "DO_WHILE":
                    self._cancel(task)
                elif task["type"].startswith("FORK_JOIN") and following is not None:
                    self._cancel(following)
                raise

    def _cancel(self, task: Json) -> None:
        key = task["taskReferenceName"] + self._suffix
        if not any(name == key for name, _ in self._found.trail):
            self._found.trail[key, "CANCELED"] += 1

    def _task(self, task: Json) -> Json | None:
        """Run one task; a dynamic fork returns its branches, for the JOIN behind it."""
        kind = task.get("type", "SIMPLE")
        given = resolve(task.get("inputParameters") or {}, self._root)
        step = getattr(self, f"_{kind.lower()}", self._worker)
        return step(task, given)

    def _note(self, task: Json, given: Json, output: Json, status: str = COMPLETED) -> None:
        """Record that a task has ended so; one that failed ends the run unless it is optional."""
        name = task["taskReferenceName"]
        is_failed = status in (FAILED, FATAL)
        if is_failed and task.get("optional"):
            status = "COMPLETED_WITH_ERRORS"
        self._found.trail[name + self._suffix, status] += 1
        self._root[name] = {
            "input": given,
            "output": output,
            "status": status,
            "referenceTaskName": name + self._suffix,
        }
        self._last = output
        if is_failed and not task.get("optional"):
            raise EndedError(FAILED)

    def _worker(self, task: Json, given: Json) -> None:
        """Any type that a worker polls, and what people answer: as the plan says."""
        plan, name = self._plans[self._definition["name"]], task["taskReferenceName"]
        status = FATAL if name in plan.failing else COMPLETED
        self._note(task, given, plan.outputs.get(name, {}), status)

    # -- the engine's own types ----------------------------------------------------------------

    def _switch(self, task: Json, given: Json) -> None:
        cases = task.get("decisionCases") or {}
        default = task.get("defaultCase") or []
        try:
            value = self._case(task, given)
        except ScriptError:
            self._note(task, given, {}, FAILED)
            return
        word = _word(value)
        is_switch = task["type"] == "SWITCH"
        chosen = cases.get(word, default) if is_switch else cases.get(word) or default
        output = {"evaluationResult": [word], "selectedCase": word}
        self._note(task, given, output if is_switch else {"caseOutput": [word]})
        self._list(chosen)

    _decision = _switch

    @staticmethod
    def _case(task: Json, given: Json) -> Any:
        if task["type"] == "DECISION":
            source = task.get("caseExpression")
            return javascript(source, given) if source else given.get(task["caseValueParam"])
        if task["evaluatorType"] == "value-param":
            return given.get(task["expression"])
        return javascript(task["expression"], given)

    def _fork_join(self, task: Json, given: Json) -> None:
        self._note(task, given, {})
        ended: EndedError | None = None
        for branch in task["forkTasks"]:
            try:
                self._list(branch)
            except EndedError as error:
                ended = ended or error
                self._found.is_exact = False
        if ended is not None:
            raise ended

    def _join(self, task: Json, given: Json) -> None:
        """End by what has run; OSS waits for ever for a name that this run never reaches.

        Ours fails then (docs/reference/compatibility.md, an endless wait on a typo).
        """
        names = task.get("joinOn") or ()
        found = {name: self._root[name]["output"] for name in names if name in self._root}
        status = COMPLETED if len(found) == len(set(names)) else FAILED
        self._note(task, given, {name: output for name, output in found.items() if output}, status)

    def _exclusive_join(self, task: Json, given: Json) -> None:
        for names in (task.get("joinOn") or (), task.get("defaultExclusiveJoinTask") or ()):
            for name in names:
                if name in self._root:
                    self._note(task, given, self._root[name]["output"])
                    return
        raise AssertionError("no definition of the corpus joins nothing")

    def _fork_join_dynamic(self, task: Json, given: Json) -> Json:
        self._note(task, given, {})
        branches = self._branches(task, given)
        for branch in branches:
            self._task(branch)
        return {"names": [branch["taskReferenceName"] for branch in branches]}

    def _branches(self, task: Json, given: Json) -> list[Json]:
        """Return the nodes of a dynamic fork. Source: semantics c.7."""
        items = given.get("forkTaskInputs")
        if isinstance(items, list):
            return [self._branch(task, given, place, item) for place, item in enumerate(items)]
        inputs = given[task["dynamicForkTasksInputParamName"]]
        return [
            {
                **node,
                "inputParameters": {
                    **(node.get("inputParameters") or {}),
                    **inputs.get(node["taskReferenceName"], {}),
                },
            }
            for node in given[task["dynamicForkTasksParam"]]
        ]

    def _branch(self, task: Json, given: Json, place: int, item: Any) -> Json:
        child = given.get("forkTaskWorkflow")
        name = given.get("forkTaskName") or task["taskReferenceName"]
        kind = "SUB_WORKFLOW" if child else given.get("forkTaskType") or "SIMPLE"
        if kind == "SIMPLE" and name == "HTTP":
            kind = "HTTP"
        # The second dynamic fork of a run puts its own name in front; the corpus has one a run.
        inner = {**(item if isinstance(item, dict) else {"input": item}), "__index": place}
        node = {"name": name, "taskReferenceName": f"_{name}_{place}", "type": kind}
        if child:
            version = int(given.get("forkTaskWorkflowVersion") or 0)
            node["subWorkflowParam"] = {"name": child, "version": version}
        return {**node, "inputParameters": inner}

    def _dynamic_join(self, join: Json, fork: Json) -> None:
        self._join({**join, "joinOn": fork["names"]}, {})

    def _do_while(self, task: Json, given: Json) -> None:
        name, outer = task["taskReferenceName"], self._suffix
        output: Json = {}
        number = 0
        is_on = True
        while is_on:
            number += 1
            output = {**output, "iteration": number}
            self._root[name] = {"input": given, "output": output}
            self._suffix = f"{outer}__{number}"
            try:
                self._list(task["loopOver"])
            finally:
                inner, self._suffix = self._suffix, outer
            children = self._of_pass(inner)
            output = {**output, str(number): children}
            self._root[name]["output"] = output
            given = resolve(task.get("inputParameters") or {}, self._root)
            scope = {**given, name: output, **children}
            try:
                value = javascript(task["loopCondition"], scope)
            except ScriptError:
                self._note(task, given, output, FATAL)
                return
            is_on = value is True or (not isinstance(value, bool | str | None) and value > 0)
            self._forget(given, number)
        self._note(task, given, output)

    def _of_pass(self, suffix: str) -> Json:
        names = {ref for ref, _ in self._found.trail if ref.endswith(suffix)}
        bare = {name.removesuffix(suffix) for name in names}
        return {name: self._root[name]["output"] for name in bare}

    def _forget(self, given: Json, number: int) -> None:
        """Drop the tasks of passes older than the last N: they are deleted."""
        kept = given.get("keepLastN")
        if isinstance(kept, int) and number > kept:
            old = f"__{number - kept}"
            for key in [key for key in self._found.trail if key[0].endswith(old)]:
                del self._found.trail[key]

    def _sub_workflow(self, task: Json, given: Json) -> None:
        params = dict(task["subWorkflowParam"])
        inline = params.pop("workflowDefinition", None)
        params = resolve(params, self._root)
        if isinstance(inline, dict):
            definition = inline  # its expressions are those of the child
        elif inline is not None:
            definition = resolve(inline, self._root)
        else:
            definition = self._library[params["name"], params.get("version") or 0]
        inner = given or {"subWorkflowName": params["name"]}
        child = Walker(self._library, self._plans, definition).walk(inner)
        self._found.children[task["taskReferenceName"] + self._suffix] = child
        self._found.is_exact &= child.is_exact
        status = {"TERMINATED": "CANCELED"}.get(child.status, child.status)
        self._note(task, given, {**child.output, "subWorkflowId": "*"}, status)
        if status == "CANCELED":
            raise EndedError("TERMINATED")

    def _inline(self, task: Json, given: Json) -> None:
        try:
            value = javascript(given["expression"], given)
        except ScriptError as error:
            self._note(task, given, {"error": str(error)}, FATAL)
        else:
            self._note(task, given, {"result": value})

    def _lambda(self, task: Json, given: Json) -> None:
        value = javascript(given["scriptExpression"], given, is_body=True)
        self._note(task, given, {"result": value})

    def _json_jq_transform(self, task: Json, given: Json) -> None:
        try:
            value = jq_first(given["queryExpression"], given)
        except ScriptError as error:
            self._note(task, given, {"error": str(error)}, FAILED)
        else:
            self._note(task, given, {"result": value, "resultList": [value]})

    def _set_variable(self, task: Json, given: Json) -> None:
        self._root["workflow"]["variables"].update(given)
        self._note(task, given, {})

    def _terminate(self, task: Json, given: Json) -> None:
        value = given.get("workflowOutput") or {}
        output = value if isinstance(value, dict) else {"output": value}
        self._note(task, given, output)
        raise EndedError(given["terminationStatus"], output)

    def _start_workflow(self, task: Json, given: Json) -> None:
        self._note(task, given, {"workflowId": "*"})


def _word(value: Any) -> str:
    """Return the text that a case is looked up by."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
