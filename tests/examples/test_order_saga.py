"""The order saga: what was done is undone in reverse, also where nobody knows that it was done."""

import pytest

from examples.order_saga import shop
from tests.cli.live import wait_until
from tests.examples.stage import Stage, attempts, references


@pytest.fixture(autouse=True)
def _books(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_SAGA_HOME", str(stage.home / "order_saga"))


def test_a_good_order_is_reserved_charged_and_shipped(stage: Stage) -> None:
    with stage.workers("order_saga"):
        run = stage.ended(stage.start("order", order_id="good"))

    assert run["status"] == "COMPLETED"
    assert run["output"]["shipment"] == "ship-good"
    assert shop.history("good") == ["reserve", "charge", "ship"]


@pytest.mark.parametrize(
    ("simulate", "failed", "history"),
    [
        ("card_declined", "charge", ["reserve", "undo reserve"]),
        ("shipping_refused", "ship", ["reserve", "charge", "undo charge", "undo reserve"]),
        (
            "shipping_lost",
            "ship",
            ["reserve", "charge", "ship", "undo ship", "undo charge", "undo reserve"],
        ),
    ],
)
def test_an_order_that_fails_is_undone_the_newest_step_first(
    stage: Stage, simulate: str, failed: str, history: list[str]
) -> None:
    with stage.workers("order_saga"):
        run = stage.ended(stage.start("order", order_id=simulate, simulate=simulate))
        handler = stage.handler_of(run)

    assert run["status"] == "FAILED"
    assert run["failedReferenceTaskNames"] == [failed]
    assert handler["status"] == "COMPLETED"
    assert shop.history(simulate) == history
    assert handler["output"]["message"].startswith(f"Order {simulate} was cancelled: ")


def test_a_carrier_that_answers_the_second_time_undoes_nothing(stage: Stage) -> None:
    with stage.workers("order_saga"):
        run = stage.ended(stage.start("order", order_id="slow", simulate="shipping_slow"))

    assert run["status"] == "COMPLETED"
    assert attempts(run, "ship") == ["FAILED", "COMPLETED"]
    assert shop.history("slow") == ["reserve", "charge", "ship"]


def test_what_the_shop_does_not_have_is_not_tried_again(stage: Stage) -> None:
    with stage.workers("order_saga"):
        run = stage.ended(stage.start("order", order_id="many", quantity=99))
        handler = stage.handler_of(run)

    assert attempts(run, "reserve") == ["FAILED_WITH_TERMINAL_ERROR"]
    assert handler["output"]["undone"] == ["release_stock"]
    assert shop.history("many") == []


@pytest.mark.slow  # a lost lease ends after five seconds
def test_a_worker_killed_after_it_has_charged_charges_once(stage: Stage) -> None:
    with stage.workers("order_saga", ORDER_SAGA_PACE="60") as first:
        workflow_id = stage.start("order", order_id="killed")
        wait_until(lambda: shop.history("killed") == ["reserve", "charge"])
        first.kill()
    with stage.workers("order_saga"):
        run = stage.ended(workflow_id)

    assert run["status"] == "COMPLETED"
    assert attempts(run, "charge") == ["TIMED_OUT", "COMPLETED"]
    assert shop.history("killed") == ["reserve", "charge", "ship"]


@pytest.mark.slow  # a lost lease ends after five seconds
def test_undoing_waits_for_workers_that_come_back(stage: Stage) -> None:
    """The workers are gone the moment the order fails; nothing that was done is forgotten."""
    with stage.workers("order_saga") as first:
        workflow_id = stage.start("order", order_id="later", simulate="shipping_lost")
        stage.ended(workflow_id)
        first.kill()
    with stage.workers("order_saga"):
        run = stage.ended(workflow_id)
        handler = stage.handler_of(run)

    undone = dict.fromkeys(name for name in references(handler) if name.startswith("undo__"))
    assert list(undone) == ["undo__1", "undo__2", "undo__3"], "a lost attempt is made again"
    assert shop.history("later")[-3:] == ["undo ship", "undo charge", "undo reserve"]
