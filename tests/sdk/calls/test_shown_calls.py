"""What the page says is shown of the Python SDK was called by these tests, and was answered.

It is tested after everything else in tests/sdk, and skipped, saying so, when only a part was run.
"""

import pytest

from tests.sdk.calls.contract import NO_CONTRACT, calls_of
from tests.sdk.calls.page import PAGE, claimed, section, written
from tests.sdk.calls.recorder import Ledger

# Calls that nothing can be wrong with: they take no name, or an unknown one has an empty answer.
NEVER_REFUSED = {
    ("AsyncTaskResourceApi", "batch_poll"),
    ("MetadataResourceApi", "get_all_workflows"),
    ("MetadataResourceApi", "get_task_defs"),
    ("TaskResourceApi", "all"),
    ("TaskResourceApi", "all_verbose"),
    ("TaskResourceApi", "batch_poll"),
    ("TaskResourceApi", "get_all_poll_data"),
    ("TaskResourceApi", "get_poll_data"),
    ("TaskResourceApi", "get_task_logs"),
    ("TaskResourceApi", "log"),
    ("TaskResourceApi", "poll"),
    ("TaskResourceApi", "requeue_pending_task"),
    ("TaskResourceApi", "size"),
    ("WorkflowResourceApi", "get_running_workflow"),
    ("WorkflowResourceApi", "get_workflows"),
    ("WorkflowResourceApi", "get_workflows2"),
}


@pytest.fixture
def whole(ledger: Ledger) -> Ledger:
    if not ledger.is_whole:
        pytest.skip("only a part of tests/sdk was run, so not every call was made")
    return ledger


def test_every_call_on_the_page_was_made_and_answered(whole: Ledger) -> None:
    lost = claimed("python") - set(whole.answered)

    assert not lost, f"say on {PAGE.name} why not, or make these calls in a test: {sorted(lost)}"


def test_every_call_that_can_be_refused_was_refused(whole: Ledger) -> None:
    never = claimed("python") - set(whole.refused)

    assert never <= NEVER_REFUSED, f"nothing wrong was tried: {sorted(never - NEVER_REFUSED)}"


@pytest.mark.skipif(not calls_of("python"), reason=NO_CONTRACT)
def test_the_section_of_the_page_is_written_from_the_sdks_calls() -> None:
    assert written() == section(), "run .venv/bin/python -m tests.sdk.calls.page"
