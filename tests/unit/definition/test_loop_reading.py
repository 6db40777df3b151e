"""What of a loop's output is kept up to date while it runs: no more than somebody reads."""

import pytest

from batuta.core.definition.normalize import read_workflow_def
from batuta.core.graph import Graph, Published, Snapshot

NOTHING, STATE, PASSES = Published.NOTHING, Published.STATE, Published.PASSES


def published(*, own: str = "", inner: str = "") -> Published:
    """Say what a loop publishes whose parameters, and whose task's, are these texts."""
    task = {"name": "a", "taskReferenceName": "a", "inputParameters": {"x": inner}}
    loop = {
        "name": "l",
        "taskReferenceName": "l",
        "type": "DO_WHILE",
        "inputParameters": {"x": own},
        "loopCondition": "$.x < 2",
        "loopOver": [task],
    }
    definition = read_workflow_def({"name": "w", "tasks": [loop]})
    return Graph(Snapshot(workflow=definition), "digest").nodes["l"].published


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${a.output.n}", NOTHING),
        ("${l.iteration}", NOTHING),
        ("${l['iteration']}", NOTHING),
        ("${l.output.iteration}", STATE),
        ("${l.output.loopItem}", STATE),
        ("${l.output.1.a.n}", PASSES),
        ("${l.output}", PASSES),
        ("${l['output']['1']}", PASSES),
        ("${l}", PASSES),
        ("at ${l.output.1.a.n} of ${l.output.iteration}", PASSES),
    ],
)
def test_a_loop_publishes_what_its_tasks_and_its_condition_read(
    text: str, expected: Published
) -> None:
    assert published(inner=text) is expected
    assert published(own=text) is expected
