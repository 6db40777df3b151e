"""The report of ``make faults``: what each fault was held against, and what was counted."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPORT = os.environ.get("BATUTA_FAULTS_REPORT", "")  # the file to write; "" for none

_faults: dict[str, dict[str, Any]] = {}


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Give what notes a fault: its oracle, its pass rule, and the figures of this run."""

    def note(*, oracle: str, rule: str, **figures: Any) -> None:
        print(f"{request.node.name}: {figures}")  # noqa: T201  for who looks
        _faults[request.node.nodeid] = {"oracle": oracle, "rule": rule, "figures": figures}

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note how each test of a fault went, and how long it took."""
    outcome: Any = yield
    if item.path.is_relative_to(Path(__file__).parent) and (
        outcome.when == "call" or outcome.failed
    ):
        fault = _faults.setdefault(item.nodeid, {})
        fault |= {"outcome": outcome.outcome, "seconds": round(outcome.duration, 1)}
    return outcome


def pytest_sessionfinish() -> None:
    """Write the report."""
    if REPORT:
        path = Path(REPORT)
        path.parent.mkdir(parents=True, exist_ok=True)
        failed = sum(fault.get("outcome") == "failed" for fault in _faults.values())
        whole = {"failed": failed, "passed": len(_faults) - failed, "faults": _faults}
        path.write_text(json.dumps(whole, indent=1), "utf-8")
