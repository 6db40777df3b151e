"""The import: each page by its kind, a worker killed after it has stored, a file that is absent."""

import sqlite3
from pathlib import Path

import pytest

from tests.cli.live import wait_until
from tests.examples.stage import EXAMPLES, Stage, attempts, references

CUSTOMERS = EXAMPLES / "customer_import" / "customers.csv"


@pytest.fixture
def home(stage: Stage, tmp_path: Path) -> dict[str, str]:
    """Give each test a database of its own."""
    assert stage.url
    return {"CUSTOMER_IMPORT_HOME": str(tmp_path)}


def stored(home: dict[str, str]) -> list[str]:
    database = sqlite3.connect(Path(home["CUSTOMER_IMPORT_HOME"]) / "customers.db")
    try:
        rows = database.execute("SELECT email FROM customer ORDER BY email")
        return [email for (email,) in rows]
    except sqlite3.OperationalError:  # not there yet
        return []
    finally:
        database.close()


def test_each_page_goes_the_way_of_its_kind(stage: Stage, home: dict[str, str]) -> None:
    with stage.workers("customer_import", **home):
        run = stage.ended(stage.start("customer_import", file=str(CUSTOMERS)))

    assert run["status"] == "COMPLETED"
    ways = [task["outputData"]["evaluationResult"] for task in run["tasks"] if _is_switch(task)]
    assert ways == [["clean"], ["untidy"], ["broken"], ["clean"], ["clean"]]
    assert [name for name in references(run) if "__3" in name][-2:] == [
        "set_aside__3",
        "advance__3",
    ]
    assert run["output"]["pages"] == 5
    assert run["output"]["customers"] == 10
    assert run["output"]["set_aside"][0] == "Nobody,not an address"
    assert "edsger@shortest.example" in stored(home)


def _is_switch(task: dict[str, object]) -> bool:
    return task["taskType"] == "SWITCH"


def test_pages_that_are_left_behind_are_dropped(stage: Stage, home: dict[str, str]) -> None:
    with stage.workers("customer_import", **home):
        run = stage.ended(stage.start("customer_import", file=str(CUSTOMERS), page_size=1))

    assert run["output"]["pages"] == 13
    loop = next(task for task in run["tasks"] if task["referenceTaskName"] == "pages")
    kept = sorted(int(key) for key in loop["outputData"] if key.isdigit())
    assert kept == list(range(4, 14)), "keepLastN is 10"


@pytest.mark.slow  # a lost lease ends after five seconds
def test_a_worker_killed_after_it_has_stored_a_page_stores_it_once(
    stage: Stage, home: dict[str, str]
) -> None:
    with stage.workers("customer_import", **home, CUSTOMER_IMPORT_PACE="60") as first:
        workflow_id = stage.start("customer_import", file=str(CUSTOMERS))
        wait_until(lambda: len(stored(home)) == 3)
        first.kill()
    with stage.workers("customer_import", **home):
        run = stage.ended(workflow_id)

    assert attempts(run, "store__1") == ["TIMED_OUT", "COMPLETED"]
    assert run["output"]["pages"] == 5
    assert run["output"]["customers"] == 10


def test_an_import_twice_is_an_import_once(stage: Stage, home: dict[str, str]) -> None:
    with stage.workers("customer_import", **home):
        first = stage.ended(stage.start("customer_import", file=str(CUSTOMERS)))
        second = stage.ended(stage.start("customer_import", file=str(CUSTOMERS), page_size=4))

    assert first["output"]["customers"] == 10
    assert second["status"] == "COMPLETED"
    assert len(stored(home)) == second["output"]["customers"]


def test_a_file_that_is_not_there_fails_the_loop_and_the_run(
    stage: Stage, home: dict[str, str]
) -> None:
    with stage.workers("customer_import", **home):
        run = stage.ended(stage.start("customer_import", file="nowhere.csv"))

    assert run["status"] == "FAILED"
    assert "there is no file 'nowhere.csv'" in run["reasonForIncompletion"]
    assert attempts(run, "read__1") == ["FAILED_WITH_TERMINAL_ERROR"]
