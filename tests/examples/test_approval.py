"""The approval: in time, refused, too late, and a deadline while the payment is under way."""

import pytest

from tests.examples.stage import Stage, attempts, references

LONG = "2 days"


def answer(stage: Stage, workflow_id: str, **output: str) -> None:
    stage.wait_for_task(workflow_id, "approval", "IN_PROGRESS")
    stage.client.post(f"/tasks/{workflow_id}/approval/COMPLETED", output)


def test_a_claim_that_is_approved_in_time_is_paid(stage: Stage) -> None:
    with stage.workers("approval"):
        workflow_id = stage.start("expense_claim", claim="taxi", cents=2350)
        answer(stage, workflow_id, decision="approved", by="mia")
        run = stage.ended(workflow_id)

    assert run["status"] == "COMPLETED"
    assert run["output"]["payment"] == "payment-taxi"
    assert attempts(run, "deadline") == ["CANCELED"], "nobody waits two days for it"
    paid = (stage.home / "approval" / "payment-taxi.txt").read_text("utf-8")
    assert paid == "23.50 for taxi, approved by mia\n"


def test_a_claim_that_is_rejected_is_not_paid_and_says_why(stage: Stage) -> None:
    with stage.workers("approval"):
        workflow_id = stage.start("expense_claim", claim="yacht", cents=9_000_000, deadline=LONG)
        answer(stage, workflow_id, decision="rejected", by="mia", why="too long")
        run = stage.ended(workflow_id)

    assert run["status"] == "COMPLETED"
    assert run["output"]["message"] == "Your claim yacht: rejected by mia: too long"
    assert "pay" not in references(run)
    assert not (stage.home / "approval" / "payment-yacht.txt").exists()


def test_a_claim_that_nobody_answers_ends_at_its_deadline_and_is_escalated(stage: Stage) -> None:
    with stage.workers("approval"):
        workflow_id = stage.start("expense_claim", claim="train", cents=8000, deadline="1s")
        run = stage.ended(workflow_id)
        handler = stage.handler_of(run)

    assert run["status"] == "TERMINATED"
    assert run["reasonForIncompletion"] == "nobody has answered within 1s"
    assert attempts(run, "approval") == ["CANCELED"]
    assert handler["output"]["message"] == (
        "Your claim train: nobody has answered within 1s; the next in line is asked"
    )


def test_an_answer_that_comes_too_late_pays_nothing(stage: Stage) -> None:
    with stage.workers("approval"):
        workflow_id = stage.start("expense_claim", claim="late", cents=1, deadline="1s")
        stage.ended(workflow_id)
        stage.client.post(
            f"/tasks/{workflow_id}/approval/COMPLETED", {"decision": "approved", "by": "mia"}
        )

        run = stage.run(workflow_id)

    assert run["status"] == "TERMINATED"
    assert attempts(run, "approval") == ["CANCELED"]
    assert not (stage.home / "approval" / "payment-late.txt").exists()


@pytest.mark.slow  # a lost lease ends after five seconds
def test_a_deadline_that_passes_while_a_payment_is_under_way_does_not_cut_it_off(
    stage: Stage,
) -> None:
    """The worker that pays is killed, and the deadline passes before another one pays."""
    with stage.workers("approval", APPROVAL_PACE="60") as first:
        workflow_id = stage.start("expense_claim", claim="hotel", cents=12_000, deadline="3s")
        answer(stage, workflow_id, decision="approved", by="mia")
        stage.wait_for_task(workflow_id, "pay", "IN_PROGRESS")
        first.kill()
        stage.wait_for_task(workflow_id, "deadline", "COMPLETED")
    with stage.workers("approval"):
        run = stage.ended(workflow_id)

    assert run["status"] == "COMPLETED"
    assert attempts(run, "pay") == ["TIMED_OUT", "COMPLETED"]
    assert "give_up" not in references(run)


def test_the_question_says_how_it_is_answered(stage: Stage) -> None:
    with stage.workers("approval"):
        workflow_id = stage.start("expense_claim", claim="bus", cents=240, deadline=LONG)
        stage.wait_for_task(workflow_id, "approval", "IN_PROGRESS")
        text = (stage.home / "approval" / "question-bus.txt").read_text("utf-8")
        path = text.splitlines()[1].removeprefix("POST /api")
        stage.client.post(path, {"decision": "approved", "by": "mia"})
        run = stage.ended(workflow_id)

    assert run["output"]["payment"] == "payment-bus"
