"""The check list of firmware pipelines: it is whole, and its checks can fail."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batuta.cli.checklist.host import host_results
from batuta.cli.checklist.item import AbsentError, CheckError, Item, Result, read_items
from batuta.cli.checklist.report import counts, document, summary_lines, write_report
from batuta.cli.show.style import Style
from batuta.cli.verify.check import find
from batuta.cli.verify.verify import check
from tests.cli.live import ROOT, batuta, environment

ITEMS = read_items()
OF_MACHINES = [item for item in ITEMS if item.kind in {"auto", "sim"}]


def test_the_list_has_the_items_of_the_recorded_one(shared_data: Path) -> None:
    recorded = json.loads((shared_data / "k1" / "checklist.json").read_text("utf-8"))["items"]

    assert {item.id: item.kind for item in ITEMS} == {one["id"]: one["class"] for one in recorded}
    said = {one["text"] for one in recorded}
    assert not said & {item.text for item in ITEMS}, "in our own words"


def test_the_list_is_193_items_of_which_127_are_for_machines() -> None:
    kinds = Counter(item.kind for item in ITEMS)

    assert (len(ITEMS), len(OF_MACHINES)) == (193, 127)
    assert (kinds["host"], kinds["hardware"] + kinds["external"] + kinds["org"]) == (19, 47)
    assert all(callable(find(item.check)) for item in OF_MACHINES)
    assert len({item.text for item in ITEMS}) == len(ITEMS)


def test_what_is_not_in_this_version_says_why_and_is_never_passed() -> None:
    absent = [item for item in OF_MACHINES if item.check == "absent"]

    results = [check(item, None) for item in absent]  # type: ignore[arg-type]

    assert absent
    assert {one.state for one in results} == {"absent"}
    assert all(one.text for one in results)


@pytest.mark.parametrize(
    ("raised", "state"),
    [
        (CheckError("it is not so"), "failed"),
        (AbsentError("not yet"), "absent"),
        (KeyError("fps"), "failed"),
        (ConnectionRefusedError(), "failed"),
    ],
)
def test_a_check_that_raises_is_no_pass(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, state: str
) -> None:
    def act(*_: Any) -> str:
        raise raised

    monkeypatch.setattr("batuta.cli.verify.verify.find", lambda _: act)

    result = check(ITEMS[8], None)  # type: ignore[arg-type]

    assert result.state == state


def made(state: Any, number: int) -> Result:
    item = Item(id=f"1.{number}", phase="P", kind="auto", text="T", check="x")
    return Result(item=item, state=state, text="seen | so")


def test_a_report_has_every_item_and_room_to_sign(tmp_path: Path) -> None:
    results = [made(state, n) for n, state in enumerate(("passed", "failed", "absent", "by hand"))]

    write_report(tmp_path / "report.md", results)
    write_report(tmp_path / "report.json", results)

    text = (tmp_path / "report.md").read_text("utf-8")
    data = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert text.count("| 1.") == 4
    assert "FAILED" in text
    assert "seen \\| so" in text
    assert data == json.loads(json.dumps(document(results)))
    assert data["counts"]["failed"] == counts(results)["failed"] == 1
    assert "1 of 3 items" in list(summary_lines(results, Style()))[-1]


def test_s2_20_doctor_tells_the_19_items_of_this_machine() -> None:
    done = batuta("doctor", "--firmware", "-o", "json")

    items = json.loads(done.stdout)["items"]
    assert done.returncode == 0
    assert [one["id"] for one in items] == [one.item.id for one in host_results()]
    assert len(items) == 19
    assert all(one["seen"].startswith(("yes: ", "no: ")) for one in items)


def test_a_part_of_the_list_is_really_checked(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    done = batuta("verify", "firmware", "--only", "5.2", "--only", "7.1.3", "--report", str(report))

    assert done.returncode == 0, done.stdout + done.stderr
    items = json.loads(report.read_text("utf-8"))["items"]
    assert [one["id"] for one in items] == [*(f"5.2.{n}" for n in range(1, 8)), "7.1.3"]
    assert {one["state"] for one in items} == {"passed"}
    assert "8 of 8 items" in done.stdout


def test_an_item_that_does_not_hold_fails_and_gives_its_code() -> None:
    """Without the webhook's secret the very same check finds the fault."""
    program = (
        "import batuta.cli.verify.plant.bench as b; "
        "start = b.Server.__init__; "
        "b.Server.__init__ = lambda s, bench, name, **more: "
        "start(s, bench, name, **{**more, 'BATUTA_GITHUB_WEBHOOK_SECRET': 'a third'}); "
        "from batuta.cli.main import main; "
        "main(['verify', 'firmware', '--only', '7.1.3'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert done.returncode == 1, done.stdout + done.stderr
    assert "FAILED" in done.stdout
    assert "a right one gives 401" in done.stdout


def test_a_number_that_the_list_has_not_is_said() -> None:
    done = batuta("verify", "firmware", "--only", "99")

    assert done.returncode == 5
    assert "no item 99" in done.stderr
