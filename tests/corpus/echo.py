"""What a definition reads back as: the whole document, worked out from what was given.

Written from Conductor's own rules (contract semantics 0, a.1, a.2, a.4), not from our code.
Equality is exact: the same keys, the same values of the same JSON types (1 is not 1.0, nor
true), lists in the same order, and in maps of the author's the keys in the same order too.

- A property that Conductor has and that was given comes back as given.
- One that was null or left out comes back as its default, or not at all where that is null.
- One that Conductor has not is dropped (``Echo.dropped``); it ignores unknown properties.
- Maps of the author's (inputs, outputs, variables, metadata) come back whole, nulls included.
- ``createTime`` and ``updateTime`` are the server's: it is these two alone that are not compared.
"""

from typing import Any

ABSENT = object()
LIST: list[Any] = []
MAP: dict[str, Any] = {}
TIMES = ("createTime", "updateTime")
_AUDIT = dict.fromkeys(("ownerApp", "createdBy", "updatedBy"), ABSENT) | dict.fromkeys(TIMES, 0)

# By property: what an absent or null one reads back as.
WORKFLOW = _AUDIT | {
    "name": ABSENT,
    "description": ABSENT,
    "version": 1,
    "tasks": LIST,
    "inputParameters": LIST,
    "outputParameters": MAP,
    "failureWorkflow": ABSENT,
    "failureWorkflowVersion": ABSENT,
    "schemaVersion": 2,
    "restartable": True,
    "workflowStatusListenerEnabled": False,
    "workflowStatusListenerSink": ABSENT,
    "ownerEmail": ABSENT,
    "timeoutPolicy": "ALERT_ONLY",
    "timeoutSeconds": 0,
    "variables": MAP,
    "inputTemplate": MAP,
    "rateLimitConfig": ABSENT,
    "inputSchema": ABSENT,
    "outputSchema": ABSENT,
    "enforceSchema": True,
    "metadata": MAP,
    "cacheConfig": ABSENT,
    "maskedFields": LIST,
}
TASK = {
    "name": ABSENT,
    "taskReferenceName": ABSENT,
    "description": ABSENT,
    "inputParameters": MAP,
    "type": "SIMPLE",
    "startDelay": 0,
    "optional": False,
    "permissive": False,
    "asyncComplete": False,
    "retryCount": ABSENT,
    "taskDefinition": ABSENT,
    "rateLimited": ABSENT,
    "onStateChange": MAP,
    "metadata": MAP,
    "cacheConfig": ABSENT,
    "joinStatus": ABSENT,
    "dynamicTaskNameParam": ABSENT,
    "caseValueParam": ABSENT,
    "caseExpression": ABSENT,
    "evaluatorType": ABSENT,
    "expression": ABSENT,
    "decisionCases": MAP,
    "defaultCase": LIST,
    "forkTasks": LIST,
    "dynamicForkTasksParam": ABSENT,
    "dynamicForkTasksInputParamName": ABSENT,
    "dynamicForkJoinTasksParam": ABSENT,
    "joinOn": LIST,
    "joinMode": ABSENT,
    "defaultExclusiveJoinTask": LIST,
    "subWorkflowParam": ABSENT,
    "sink": ABSENT,
    "loopCondition": ABSENT,
    "loopOver": LIST,
    "items": ABSENT,
    "scriptExpression": ABSENT,
}
# What Batuta has besides Conductor (contract S2.2): a node's own retries and limits.
OVERRIDES = ("retryLogic", "retryDelaySeconds", "timeoutSeconds", "responseTimeoutSeconds")
TASK |= dict.fromkeys(OVERRIDES, ABSENT)
SUB_WORKFLOW = dict.fromkeys(
    (
        "name",
        "version",
        "taskToDomain",
        "workflowDefinition",
        "idempotencyKey",
        "idempotencyStrategy",
        "priority",
    ),
    ABSENT,
)
TASK_DEF = _AUDIT | {
    "name": ABSENT,
    "description": ABSENT,
    "retryCount": 3,
    "timeoutSeconds": 0,
    "timeoutPolicy": "TIME_OUT_WF",
    "responseTimeoutSeconds": 3600,
    "pollTimeoutSeconds": ABSENT,
    "totalTimeoutSeconds": 0,
    "retryLogic": "FIXED",
    "retryDelaySeconds": 60,
    "backoffScaleFactor": 1,
    "maxRetryDelaySeconds": 0,
    "backoffJitterMs": 0,
    "concurrentExecLimit": ABSENT,
    "rateLimitPerFrequency": 0,
    "rateLimitFrequencyInSeconds": 1,
    "isolationGroupId": ABSENT,
    "executionNameSpace": ABSENT,
    "inputKeys": LIST,
    "outputKeys": LIST,
    "inputTemplate": MAP,
    "runtimeMetadata": LIST,
    "ownerEmail": ABSENT,
    "baseType": ABSENT,
    "taskStatusListenerEnabled": True,
    "inputSchema": ABSENT,
    "outputSchema": ABSENT,
    "enforceSchema": False,
}


class Echo:
    """Works out documents; ``dropped`` collects the properties that Conductor has not."""

    def __init__(self) -> None:
        self.dropped: set[str] = set()

    def of_workflow(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what a workflow definition reads back as."""
        whole = self._bean("workflow", WORKFLOW, given)
        whole["tasks"] = self._tasks(whole["tasks"])
        return whole

    def of_task_def(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what a task definition reads back as; lenient as contract S2.2 says."""
        whole = self._bean("task definition", TASK_DEF, given)
        if given.get("responseTimeoutSeconds") is None and whole["timeoutSeconds"]:
            whole["responseTimeoutSeconds"] = min(3600, whole["timeoutSeconds"])
        return whole

    def _bean(self, kind: str, properties: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
        self.dropped |= {f"{kind}.{key}" for key in given if key not in properties}
        values = {
            key: default if given.get(key) is None else given[key]
            for key, default in properties.items()
        }
        return {key: value for key, value in values.items() if value is not ABSENT}

    def _tasks(self, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self._task(task) for task in given]

    def _task(self, given: dict[str, Any]) -> dict[str, Any]:
        whole = self._bean("task", TASK, given)
        for key in ("defaultCase", "loopOver"):
            whole[key] = self._tasks(whole[key])
        whole["forkTasks"] = [self._tasks(branch) for branch in whole["forkTasks"]]
        whole["decisionCases"] = {
            case: self._tasks(tasks) for case, tasks in whole["decisionCases"].items()
        }
        if "taskDefinition" in whole:
            whole["taskDefinition"] = self.of_task_def(whole["taskDefinition"])
        if "subWorkflowParam" in whole:
            whole["subWorkflowParam"] = self._child(whole["subWorkflowParam"])
        elif whole["type"] == "SUB_WORKFLOW":
            self._child_in_input(whole)
        return whole

    def _child(self, given: dict[str, Any]) -> dict[str, Any]:
        whole = self._bean("subWorkflowParam", SUB_WORKFLOW, given)
        inline = whole.get("workflowDefinition")
        if isinstance(inline, dict):
            whole["workflowDefinition"] = self.of_workflow(inline)
            whole["name"] = inline["name"]
        return whole

    def _child_in_input(self, whole: dict[str, Any]) -> None:
        """Read a child that is named in the task's input, an alias (contract S2.2)."""
        given = whole["inputParameters"]
        names = {"name": "subWorkflowName", "version": "subWorkflowVersion"}
        whole["subWorkflowParam"] = {key: given[name] for key, name in names.items()}
        whole["inputParameters"] = given["workflowInput"]


def differences(expected: Any, found: Any, path: str = "") -> list[str]:
    """Name every place where two documents differ; none when they are equal."""
    if type(expected) is not type(found):
        return [f"{path}: {expected!r} became {found!r}"]
    if isinstance(expected, dict):
        missing = [f"{path}.{key}: is gone" for key in expected if key not in found]
        added = [f"{path}.{key}: was added" for key in found if key not in expected]
        common = [key for key in expected if key in found]
        inner = [differences(expected[key], found[key], f"{path}.{key}") for key in common]
        return missing + added + [one for found_inside in inner for one in found_inside]
    if isinstance(expected, list):
        if len(expected) != len(found):
            return [f"{path}: {len(expected)} items became {len(found)}"]
        inner = [
            differences(one, other, f"{path}[{place}]")
            for place, (one, other) in enumerate(zip(expected, found, strict=True))
        ]
        return [one for found_inside in inner for one in found_inside]
    return [] if expected == found else [f"{path}: {expected!r} became {found!r}"]
