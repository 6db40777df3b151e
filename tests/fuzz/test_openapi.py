"""A bounded fuzz of the whole API; `make fuzz` is the long one."""

import json
from pathlib import Path

import pytest

from tests.fuzz.campaign import run

LINKS_MIN = 5  # of the document that the sequences must have followed
EXAMPLES = 15  # requests for each operation, with unknown ids and with known ones
CASES_MIN = 2_000  # requests that `make check` must have sent at least


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_request_made_from_our_own_openapi_is_answered_by_an_error_of_ours(
    tmp_path: Path,
) -> None:
    report = run(tmp_path, phases="fuzzing", examples=EXAMPLES, seed=1)

    assert report["failures"] == 0, json.dumps(report, indent=2)
    assert report["tracebacks"] == 0, (tmp_path / "server.log").read_text("utf-8")[-4_000:]
    assert report["cases"] >= CASES_MIN
    assert report["passes"]["sequences"]["links"] >= LINKS_MIN
    known = report["passes"]["ids of runs"]
    assert known["operations_accepted"] > known["operations"] * 0.7, "most requests are refused"
