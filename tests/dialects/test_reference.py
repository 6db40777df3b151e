"""docs/reference/dialects.md is what the front doors have; run this file to write it anew.

A scenario's tests carry its number: `test_s3_11_...` shows S3.11. They are found by reading the
files, so a scenario that is said to be met and has no test fails here.
"""

import asyncio
import re
from pathlib import Path as File

import msgspec
import pytest

from batuta.dialects import Dialect, Host, open_dialects
from batuta.dialects.order import NAMES
from batuta.dialects.reference import Path, page, paths, scenarios, words
from batuta.workers.system.target import targets_of
from tests.api.conftest import open_engine

ROOT = File(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "dialects.md"
PATHS = ROOT / "batuta" / "dialects" / "reference" / "paths.json"
NAMED = re.compile(r"^\s*(?:async )?def (test_s([0-4])_(\d{1,2})_\w+)", re.MULTILINE)
AGAIN = f"run {__file__} to write it anew"


def by_number() -> dict[str, list[str]]:
    """Find the tests of each scenario by their names."""
    found: dict[str, list[str]] = {}
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, chapter, number in NAMED.findall(file.read_text("utf-8")):
            found.setdefault(f"S{chapter}.{int(number)}", []).append(name)
    return found


async def mounted() -> list[Dialect]:
    """Open every dialect on an empty engine."""
    async with open_engine() as engine:
        targets = targets_of((), is_shared=False)
        return await open_dialects(Host(engine=engine, targets=targets))


def real_paths(dialects: list[Dialect]) -> list[Path]:
    """List the routes that the dialects mount."""
    mounts = {one.mount.name: one.mount for one in dialects}
    return [
        Path(dialect=name, method=route.method, path=route.path, summary=route.summary)
        for name in NAMES
        if name in mounts
        for route in mounts[name].routes
    ]


async def test_the_paths_are_those_that_are_mounted() -> None:
    assert paths() == real_paths(await mounted()), AGAIN


def test_the_page_is_what_there_is() -> None:
    assert PAGE.read_text("utf-8") == page(by_number()), AGAIN


def test_there_are_97_scenarios_each_of_a_dialect() -> None:
    numbers = [one.number for one in scenarios()]
    assert len(set(numbers)) == len(numbers) == 97
    assert {one.dialect for one in scenarios()} == set(NAMES)


@pytest.mark.parametrize("scenario", scenarios(), ids=lambda one: one.number)
def test_a_scenario_that_is_met_has_a_test_and_no_other_has(scenario: object) -> None:
    number, missing = scenario.number, scenario.missing  # type: ignore[attr-defined]
    assert bool(by_number().get(number)) is not bool(missing)


def test_every_dialect_has_a_word_for_each_thing() -> None:
    assert all(set(row) == {"engine", *NAMES} for row in words())


def write() -> None:
    """Write what is written: the paths, then the page."""
    found = real_paths(asyncio.run(mounted()))
    lines = ",\n".join(" " + msgspec.json.encode(one).decode() for one in found)
    PATHS.write_text(f"[\n{lines}\n]\n", "utf-8")
    PAGE.write_text(page(by_number()), "utf-8")


if __name__ == "__main__":
    write()
