"""Random definitions over the operators of the engine, nested up to three deep."""

import random
from typing import Any

DEPTH_MAX = 3
QUEUES = ("build", "test", "sign", "ship", "scan")
CLEANUP = "cleanup"
EAST = "east"  # the domain that some workers poll


def task_definitions(chance: random.Random) -> list[dict[str, Any]]:
    """Return one task definition a queue; their times are seconds of a virtual minute."""
    found = []
    for name in QUEUES:
        document: dict[str, Any] = {
            "name": name,
            "retryCount": chance.choice([0, 1, 2, 3]),
            "retryDelaySeconds": chance.choice([0, 0, 1, 3]),
            "retryLogic": chance.choice(["FIXED", "LINEAR_BACKOFF", "EXPONENTIAL_BACKOFF"]),
            "backoffScaleFactor": chance.choice([1, 2]),
            "responseTimeoutSeconds": chance.choice([2, 5, 10]),
            "timeoutSeconds": 0,
            "timeoutPolicy": chance.choice(["RETRY", "RETRY", "TIME_OUT_WF", "ALERT_ONLY"]),
        }
        if chance.random() < 0.3:
            document["timeoutSeconds"] = chance.choice([10, 20])
        if chance.random() < 0.2:
            document["pollTimeoutSeconds"] = chance.choice([5, 15])
        if chance.random() < 0.15:
            document["totalTimeoutSeconds"] = chance.choice([20, 60])
        if chance.random() < 0.2:
            document["maxRetryDelaySeconds"] = 4
        found.append(document)
    found.append({"name": CLEANUP, "retryCount": 3, "retryDelaySeconds": 0, "timeoutSeconds": 0,
                  "responseTimeoutSeconds": 5})  # fmt: skip
    return found


def workflow_definitions(chance: random.Random, *, count: int) -> list[dict[str, Any]]:
    """Return ``count`` definitions and the failure workflow; later ones may start earlier ones."""
    simple = {"name": CLEANUP, "taskReferenceName": "tidy_up", "type": "SIMPLE"}
    found: list[dict[str, Any]] = [{"name": CLEANUP, "version": 1, "tasks": [simple]}]
    for number in range(count):
        names = [document["name"] for document in found[1:]]
        found.append(workflow_definition(chance, f"pipeline{number}", names))
    return found


def workflow_definition(chance: random.Random, name: str, children: list[str]) -> dict[str, Any]:
    """Return one definition, which may start ``children``."""
    tasks = _Writer(chance, children).sequence(1)
    document: dict[str, Any] = {"name": name, "version": 1, "tasks": tasks}
    if chance.random() < 0.4:
        document["failureWorkflow"] = CLEANUP
    if chance.random() < 0.15:
        document["timeoutSeconds"] = chance.choice([15, 40])
        document["timeoutPolicy"] = "TIME_OUT_WF"
    if chance.random() < 0.3:
        document["outputParameters"] = {"n": "${workflow.input.n}", "v": "${workflow.variables.v}"}
    return document


class _Writer:
    """Writes one definition; reference names count up."""

    def __init__(self, chance: random.Random, children: list[str]) -> None:
        self._chance = chance
        self._children = children
        self._count = 0

    def sequence(self, depth: int) -> list[dict[str, Any]]:
        """Return one to four tasks; the last is one that a JOIN may wait for."""
        tasks: list[dict[str, Any]] = []
        for _ in range(self._chance.randint(1, 4 - depth + 1)):
            tasks += self._some(depth)
        if tasks[-1]["type"] in {"SWITCH", "DECISION", "SET_VARIABLE"}:
            tasks.append(self._simple())
        return tasks

    def _some(self, depth: int) -> list[dict[str, Any]]:
        kinds = ["simple"] * 5 + ["wait", "variable"]
        if depth < DEPTH_MAX:
            kinds += ["fork", "fork", "switch", "decision", "loop"]
        if self._children:
            kinds += ["child", "child"]
        return getattr(self, "_" + self._chance.choice(kinds) + "s")(depth)

    def _ref(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _simple(self) -> dict[str, Any]:
        chance = self._chance
        task: dict[str, Any] = {
            "name": chance.choice(QUEUES),
            "taskReferenceName": self._ref("s"),
            "type": "SIMPLE",
            "inputParameters": {"n": "${workflow.input.n}", "v": "${workflow.variables.v}"},
        }
        if chance.random() < 0.15:
            task["optional"] = True
        elif chance.random() < 0.1:
            task["permissive"] = True
        if chance.random() < 0.1:
            task["startDelay"] = chance.choice([1, 3])
        return task

    def _simples(self, _depth: int) -> list[dict[str, Any]]:
        return [self._simple()]

    def _waits(self, _depth: int) -> list[dict[str, Any]]:
        given = self._chance.choice([{"duration": "3 seconds"}, {"duration": "9 seconds"}, {}])
        ref = self._ref("w")
        return [{"name": ref, "taskReferenceName": ref, "type": "WAIT", "inputParameters": given}]

    def _variables(self, _depth: int) -> list[dict[str, Any]]:
        ref = self._ref("v")
        parameters = {"v": "${workflow.input.n}", ref: 1}
        return [
            {
                "name": ref,
                "taskReferenceName": ref,
                "type": "SET_VARIABLE",
                "inputParameters": parameters,
            }
        ]

    def _forks(self, depth: int) -> list[dict[str, Any]]:
        fork, join = self._ref("f"), self._ref("j")
        branches = [self.sequence(depth + 1) for _ in range(self._chance.randint(2, 3))]
        return [
            {"name": fork, "taskReferenceName": fork, "type": "FORK_JOIN", "forkTasks": branches},
            {
                "name": join,
                "taskReferenceName": join,
                "type": "JOIN",
                "joinOn": [branch[-1]["taskReferenceName"] for branch in branches],
            },
        ]

    def _cases(self, depth: int) -> dict[str, Any]:
        cases = {str(n): self.sequence(depth + 1) for n in range(self._chance.randint(1, 2))}
        if self._chance.random() < 0.25:
            cases["2"] = [self._terminate()]
        return cases

    def _switchs(self, depth: int) -> list[dict[str, Any]]:
        ref = self._ref("x")
        task = {
            "name": ref,
            "taskReferenceName": ref,
            "type": "SWITCH",
            "evaluatorType": "value-param",
            "expression": "which",
            "inputParameters": {"which": "${workflow.input.n}"},
            "decisionCases": self._cases(depth),
            "defaultCase": self.sequence(depth + 1) if self._chance.random() < 0.5 else [],
        }
        if self._chance.random() < 0.3:
            task["evaluatorType"] = "javascript"
            # Not simple on purpose: it goes to the sandbox, as a need of the decision.
            task["expression"] = "[$.which].map(function (x) { return String(x); })[0]"
        return [task]

    def _decisions(self, depth: int) -> list[dict[str, Any]]:
        ref = self._ref("d")
        return [
            {
                "name": ref,
                "taskReferenceName": ref,
                "type": "DECISION",
                "caseValueParam": "which",
                "inputParameters": {"which": "${workflow.input.n}"},
                "decisionCases": self._cases(depth),
                "defaultCase": self.sequence(depth + 1) if self._chance.random() < 0.5 else [],
            }
        ]

    def _loops(self, depth: int) -> list[dict[str, Any]]:
        ref = self._ref("l")
        passes = self._chance.randint(1, 3)
        body = self.sequence(depth + 1)
        if depth + 1 < DEPTH_MAX and self._chance.random() < 0.5:
            # What follows a JOIN inside a pass belongs to the pass.
            body = self._forks(depth + 1) + body
        condition = f"if ($.{ref}['iteration'] < {passes}) {{ true; }} else {{ false; }}"
        return [
            {
                "name": ref,
                "taskReferenceName": ref,
                "type": "DO_WHILE",
                "loopCondition": condition,
                "loopOver": body,
            }
        ]

    def _childs(self, _depth: int) -> list[dict[str, Any]]:
        ref = self._ref("c")
        name = self._chance.choice(self._children)
        task = {
            "name": ref,
            "taskReferenceName": ref,
            "type": "SUB_WORKFLOW",
            "subWorkflowParam": {"name": name},
            "inputParameters": {"n": "${workflow.input.n}"},
        }
        if self._chance.random() < 0.2:
            task["optional"] = True
        if self._chance.random() < 0.2:
            task["retryCount"] = 1
        return [task]

    def _terminate(self) -> dict[str, Any]:
        ref = self._ref("t")
        status = self._chance.choice(["COMPLETED", "FAILED", "TERMINATED"])
        return {
            "name": ref,
            "taskReferenceName": ref,
            "type": "TERMINATE",
            "inputParameters": {"terminationStatus": status, "workflowOutput": {"by": ref}},
        }
