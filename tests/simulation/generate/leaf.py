"""Random tasks that hold no others; each function returns one WorkflowTask as JSON."""

import random
from typing import Any

from tests.simulation.generate import script
from tests.simulation.generate.task import QUEUES, REMOTE, UNKNOWN

Document = dict[str, Any]
N = "${workflow.input.n}"
LEASE_S = 5  # of tasks without a definition of their own; the default is an hour


def of(kind: str, ref: str, inputs: Document, **fields: Any) -> Document:
    """Return a task of a type whose name is its reference name."""
    task = {"name": ref, "taskReferenceName": ref, "type": kind, "inputParameters": inputs}
    return {**task, **fields}


def simple(chance: random.Random, ref: str) -> Document:
    """Return a task for workers, with whatever a node may say of its attempts."""
    inputs: Document = {"n": N, "v": "${workflow.variables.v}"}
    if chance.random() < 0.2:
        inputs["text"] = "n is ${workflow.input.n} of ${workflow.correlationId}"
    task = of("SIMPLE", ref, inputs, name=chance.choice(QUEUES))
    if chance.random() < 0.08:
        task["name"] = UNKNOWN
        task["retryCount"] = 1
        task["retryDelaySeconds"] = 1
        task["responseTimeoutSeconds"] = LEASE_S
    elif chance.random() < 0.1:
        task["retryCount"] = chance.choice([0, 1, 2])
    if chance.random() < 0.1:
        task["startDelay"] = chance.choice([1, 3])
    return leniently(chance, task)


def leniently(chance: random.Random, task: Document) -> Document:
    """Make a task optional or permissive now and then."""
    if chance.random() < 0.15:
        task["optional"] = True
    elif chance.random() < 0.1:
        task["permissive"] = True
    return task


def user_type(chance: random.Random, ref: str) -> Document:
    """Return a task whose type the engine does not know: a queue of its own."""
    said = {"retryCount": 1, "retryDelaySeconds": 0, "responseTimeoutSeconds": LEASE_S}
    return leniently(chance, of(UNKNOWN, ref, {"n": N}, name=UNKNOWN, **said))


def remote(chance: random.Random, ref: str) -> Document:
    """Return an HTTP task; a worker does it, and some are ended by somebody else later."""
    asked = {"uri": "http://127.0.0.1:1/", "method": "GET"}
    task = of(REMOTE, ref, {"http_request": asked}, name=REMOTE, retryCount=1)
    task["responseTimeoutSeconds"] = LEASE_S
    if chance.random() < 0.5:
        task["asyncComplete"] = True
    return leniently(chance, task)


def wait(chance: random.Random, ref: str) -> Document:
    """Return a WAIT: for a time, until a time, or for somebody."""
    given = chance.choice(
        [{"duration": "3 seconds"}, {"duration": "9 s"}, {"until": "2026-01-01 00:00"}, {}, {}]
    )
    task = of("WAIT", ref, given)
    if chance.random() < 0.1:
        task["startDelay"] = 2
    return task


def human(_chance: random.Random, ref: str) -> Document:
    """Return a HUMAN task, which somebody ends."""
    return of("HUMAN", ref, {"n": N})


def noop(_chance: random.Random, ref: str) -> Document:
    """Return a NOOP."""
    return of("NOOP", ref, {})


def variable(_chance: random.Random, ref: str) -> Document:
    """Return a SET_VARIABLE."""
    return of("SET_VARIABLE", ref, {"v": N, ref: 1})


def event(chance: random.Random, ref: str) -> Document:
    """Return an EVENT to the engine's own sink; some wait until somebody ends them."""
    task = of("EVENT", ref, {"n": N}, sink=chance.choice(["conductor", "conductor:news"]))
    if chance.random() < 0.3:
        task["asyncComplete"] = True
    return leniently(chance, task)


def inline(chance: random.Random, ref: str) -> Document:
    """Return an INLINE: a script, a simple one, or one that fails."""
    sources = [script.WRAP, script.WRAP, "$.n == 1", script.THROW]
    inputs = {"evaluatorType": "javascript", "expression": chance.choice(sources), "n": N}
    if chance.random() < 0.2:
        inputs |= {"evaluatorType": "value-param", "expression": "n"}
    return leniently(chance, of("INLINE", ref, inputs))


def lambda_(chance: random.Random, ref: str) -> Document:
    """Return a LAMBDA."""
    return leniently(chance, of("LAMBDA", ref, {"n": N, "scriptExpression": script.LAMBDA}))


def jq(chance: random.Random, ref: str) -> Document:
    """Return a JSON_JQ_TRANSFORM; some programs fail, and are tried again."""
    programs = [script.JQ_WRAP, script.JQ_WRAP, script.JQ_MANY, script.JQ_ERROR]
    task = of("JSON_JQ_TRANSFORM", ref, {"n": N, "queryExpression": chance.choice(programs)})
    if chance.random() < 0.3:
        task["retryCount"] = 1
    return leniently(chance, task)


def dynamic(chance: random.Random, ref: str) -> Document:
    """Return a DYNAMIC; seldom one that is told no name."""
    name = "" if chance.random() < 0.03 else chance.choice([*QUEUES, UNKNOWN])
    inputs = {"taskToRun": name, "n": N}
    task = of("DYNAMIC", ref, inputs, dynamicTaskNameParam="taskToRun")
    task["responseTimeoutSeconds"] = LEASE_S
    return leniently(chance, task)


def terminate(chance: random.Random, ref: str) -> Document:
    """Return a TERMINATE."""
    status = chance.choice(["COMPLETED", "FAILED", "TERMINATED"])
    inputs = {"terminationStatus": status, "workflowOutput": {"by": ref}}
    if chance.random() < 0.5:
        inputs["terminationReason"] = "it was asked for"
    return of("TERMINATE", ref, inputs)
