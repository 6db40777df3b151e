"""From a list of nodes to a workflow of the engine: a chain of tasks, one for each node.

References between nodes become expressions. What else stands in a config is the run's input, so
that lists which differ in their texts alone are one definition: it is stored and made ready once.
Its name is its content's hash. Source: S0.2, S0.3.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from batuta.core.expression.template import escaped
from batuta.dialects.flow.definition import USE_PREVIOUS, Node, refuse
from batuta.model.definition import NAME_CHARACTERS_MAX, TaskDef, WorkflowDef, WorkflowTask
from batuta.model.error import Fault

PREFIX = "flow_builder_"
HASH_BYTES = 16  # 32 hex digits, as the original's random ones
OWNER = "noreply@flowbuilder.local"
TIMEOUT_SECONDS = 3_600  # of a node that says nothing, and of a silent worker
# Of a silent worker of a type that the server does: after it another server takes over from one
# that has died. The original's backend, which may do them too, is silent for 240 s at most.
LEASE_SECONDS = 300
REFERENCE = "reference"
CONFIGS = "configs"  # of a run's input
PREVIOUS_MAX = 50  # results of earlier nodes that one is given; each is carried in its input

_KEY = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
# A path into an output, which is written as it is; any other key is quoted.
_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*|\[\d{1,9}\])*", re.ASCII)


class Lowered(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow, and the configs that its runs are given, by reference name."""

    definition: WorkflowDef
    configs: dict[str, dict[str, Any]]

    def input(self, name: str) -> dict[str, Any]:
        """Return the input of a run that is shown with a name."""
        given: dict[str, Any] = {"workflowName": name}
        return {**given, CONFIGS: self.configs} if self.configs else given


def lowered(nodes: Sequence[Node], served: Collection[str] = ()) -> Lowered:
    """Return the workflow that runs nodes in the order of their list.

    Args:
        served: The types that workers of the server do, which say all the time that they live.

    Raises:
        InvalidError: A reference is none, see ``_expression``.
    """
    faults: list[Fault] = []
    refs: dict[str, str] = {}
    tasks, configs = [], {}
    for place, node in enumerate(nodes):
        ref = f"node_{place + 1}"
        config, given = _config(node.config, ref, refs, f"nodes[{place}].config", faults)
        if given:
            configs[ref] = given
        lease_s = LEASE_SECONDS if node.type in served else None
        tasks.append(_task(node, ref, config, nodes[:place], lease_s))
        refs[node.id] = ref  # those behind it may read it, and no others
    refuse(faults)
    content = blake2b(msgspec.json.encode(tasks), digest_size=HASH_BYTES).hexdigest()
    definition = WorkflowDef(
        name=f"{PREFIX}{content}",
        description="Flow Builder dynamic workflow",
        version=1,
        tasks=tasks,
        owner_email=OWNER,
    )
    return Lowered(definition=definition, configs=configs)


def task_defs(types: Sequence[str]) -> list[dict[str, Any]]:
    """Return the task definitions that are registered for node types that have none."""
    return [
        {
            "name": one,
            "description": f"Flow Builder task: {one}",
            "retryCount": 0,
            "timeoutSeconds": TIMEOUT_SECONDS,
            "timeoutPolicy": "RETRY",  # a node that takes too long has failed, like any other
            "responseTimeoutSeconds": TIMEOUT_SECONDS,
            "inputKeys": ["config", "nodeId", "nodeType"],
            "outputKeys": [],
        }
        for one in types
    ]


def missing_types(nodes: Sequence[Node], registered: Mapping[str, TaskDef]) -> list[str]:
    """Return the types of nodes that have no task definition, each once."""
    return [one for one in dict.fromkeys(node.type for node in nodes) if one not in registered]


def _task(
    node: Node, ref: str, config: dict[str, Any], before: Sequence[Node], lease_s: int | None
) -> WorkflowTask:
    retry = node.retry
    given = {
        "nodeId": escaped(node.id),
        "nodeType": escaped(node.type),
        "config": config,
        "execution": escaped(node.execution),
    }
    if node.execution.get(USE_PREVIOUS):
        given["previousResults"] = _previous(before)
    return WorkflowTask(
        name=node.type,
        task_reference_name=ref,
        type="SIMPLE",
        description=escaped(node.title) or None,
        input_parameters=given,
        retry_count=retry.count if retry else None,
        retry_delay_seconds=retry.delay_seconds if retry else None,
        retry_logic=retry.backoff if retry else None,
        timeout_seconds=node.timeout_seconds,
        response_timeout_seconds=lease_s,
        metadata={"nodeId": node.id, "nodeType": node.type},
    )


def _previous(before: Sequence[Node]) -> list[dict[str, Any]]:
    """Return the results of the nodes before one, oldest first, as that one's input."""
    placed = list(enumerate(before, 1))[-PREVIOUS_MAX:]
    return [
        {
            "nodeId": escaped(node.id),
            "nodeType": escaped(node.type),
            "output": f"${{node_{place}.output}}",
        }
        for place, node in placed
    ]


def _config(
    config: dict[str, Any], ref: str, refs: Mapping[str, str], place: str, faults: list[Fault]
) -> tuple[Any, dict[str, Any]]:
    """Return a config as the definition has it, and the part of it that the run is given."""
    if config.get("_type") == REFERENCE:
        return _resolved(config, refs, place, faults), {}
    own = {key for key, value in config.items() if _is_fixed(key) or _has_reference(value)}
    given = {key: value for key, value in config.items() if key not in own}
    where = f"workflow.input.{CONFIGS}.{ref}"
    if given and not own:
        return f"${{{where}}}", given
    made = {
        key: _resolved(value, refs, f"{place}.{key}", faults)
        if key in own
        else f"${{{where}{_step(key)}}}"
        for key, value in config.items()
    }
    return made, given


def _has_reference(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_reference, value))
    if not isinstance(value, dict):
        return False
    return value.get("_type") == REFERENCE or any(map(_has_reference, value.values()))


def _is_fixed(key: str) -> bool:
    """Say whether a key stands in the definition because no path can name it."""
    return "{" in key or "}" in key or len(key) > NAME_CHARACTERS_MAX


def _step(key: str) -> str:
    """Return the step of a path that leads to a key."""
    if _KEY.fullmatch(key):
        return f".{key}"
    quoted = key.replace("\\", "\\\\").replace("'", "\\'")
    return f"['{quoted}']"


def _resolved(value: Any, refs: Mapping[str, str], place: str, faults: list[Fault]) -> Any:
    """Replace the references of a value at any depth, and escape what only looks like one."""
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list):
        return [
            _resolved(item, refs, f"{place}[{index}]", faults) for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if value.get("_type") == REFERENCE:
        return _expression(value, refs, place, faults)
    return {key: _resolved(item, refs, f"{place}.{key}", faults) for key, item in value.items()}


def _expression(
    reference: dict[str, Any], refs: Mapping[str, str], place: str, faults: list[Fault]
) -> str | None:
    """Return the engine's expression; None for an empty key, and where no earlier node is meant."""
    node_id, key = reference.get("nodeId"), reference.get("outputKey")
    known = len(faults)
    for name, given in (("nodeId", node_id), ("outputKey", key)):
        if given is not None and not isinstance(given, str):
            faults.append(Fault(f"{place}.{name}"[:NAME_CHARACTERS_MAX], "must be a string"))
        elif given is not None and len(given) > NAME_CHARACTERS_MAX:
            message = f"must be {NAME_CHARACTERS_MAX} characters at most"
            faults.append(Fault(f"{place}.{name}"[:NAME_CHARACTERS_MAX], message))
    ref = refs.get(node_id) if isinstance(node_id, str) else None
    if len(faults) > known or ref is None or not key:
        return None
    if _PATH.fullmatch(key):
        return f"${{{ref}.output.{key}}}"
    if "{" in key or "}" in key:
        faults.append(Fault(f"{place}.outputKey"[:NAME_CHARACTERS_MAX], "may hold no braces"))
        return None
    return f"${{{ref}.output{_step(key)}}}"
