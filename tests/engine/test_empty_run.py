"""A start that could not be decided leaves an empty run in its batch."""

import pytest

from batuta.model.command import PauseWorkflow, StartWorkflow
from batuta.model.error import NotFoundError
from batuta.model.payload import EMPTY
from batuta.runtime.commit.batch import Share, Submitted, Unit, decide_on, new_execution
from tests.unit.test_decide import WORKFLOW_ID, graph


def test_nothing_but_a_start_is_decided_on_a_run_that_is_not_there() -> None:
    start = StartWorkflow(
        workflow_id=WORKFLOW_ID, name="w", definition="d", definition_version=1, input=EMPTY
    )
    share = Share(new_execution(start, graph({"ref": "a"})), Unit())
    pause = Submitted(PauseWorkflow(workflow_id=WORKFLOW_ID), None, seed=bytes(16))

    with pytest.raises(NotFoundError):
        decide_on(share, pause, now_ms=1, environment={})

    assert not share.entries
    decide_on(share, Submitted(start, None, seed=bytes(16)), now_ms=1, environment={})
    decide_on(share, pause, now_ms=1, environment={})
    assert [entry.kind for entry in share.entries] == ["start", "pause"]
