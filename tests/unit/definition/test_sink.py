"""Where an EVENT's message goes, and the warnings where it goes nowhere."""

import pytest

from batuta.core.definition.lint import lint
from batuta.core.definition.normalize import read_workflow_def
from batuta.core.definition.sink import OTHER_KINDS, fault_of_sink, queue_of
from batuta.core.definition.warning import Code


@pytest.mark.parametrize(
    ("sink", "queue"),
    [
        ("conductor", "conductor:orders:e__2"),
        ("conductor:paid", "conductor:orders:paid"),
        ("conductor:a:b", "conductor:orders:a:b"),
    ],
)
def test_a_sink_of_ours_is_a_queue_of_its_workflow(sink: str, queue: str) -> None:
    assert queue_of(sink, workflow_name="orders", reference_name="e__2") == queue


@pytest.mark.parametrize("sink", [*(f"{kind}:x" for kind in sorted(OTHER_KINDS)), "kafka"])
def test_a_sink_that_is_not_configured_is_said_to_be_so(sink: str) -> None:
    kind = sink.partition(":")[0]

    assert f"{kind} is not configured here" in (fault_of_sink(sink) or "")
    with pytest.raises(ValueError, match="not configured here"):
        queue_of(sink, workflow_name="w", reference_name="e")


@pytest.mark.parametrize("sink", ["", "conductor:", "conductors:x", "pigeon:x", None, 7, ["a"]])
def test_what_is_no_sink_is_refused(sink: object) -> None:
    assert fault_of_sink(sink)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"type": "EVENT", "sink": "sqs:orders"}, "tasks[0].sink"),
        ({"type": "EVENT", "sink": "conductor:x"}, None),
        ({"type": "EVENT", "sink": "${workflow.input.sink}"}, None),
        ({"type": "KAFKA_PUBLISH", "inputParameters": {"kafka_request": {}}}, "tasks[0]"),
    ],
)
def test_lint_warns_of_a_message_that_goes_nowhere(fields: dict, path: str | None) -> None:
    task = {"name": "t", "taskReferenceName": "t", **fields}
    definition = read_workflow_def({"name": "w", "version": 1, "tasks": [task]})

    found = [one.path for one in lint(definition) if one.code is Code.SINK_NOT_CONFIGURED]

    assert found == ([path] if path else [])
