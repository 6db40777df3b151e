"""What the front doors have: their paths, their words, and what each was asked to do.

Three documents beside this file. ``words.json``: the words of each for the same thing.
``scenarios.json``: what users of the five systems rely on, by number, in our own words; one that
is not met yet has a reason under ``missing``, and each other one has a test that carries its number
(tests/dialects/test_reference.py compares). ``paths.json``: the routes, written from the mounts.
"""

from importlib.resources import files
from typing import Literal

import msgspec

from batuta.dialects.order import NAMES

_HERE = files(__package__)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that users of a system rely on.

    ``number``: as S3.11. ``weight``: "must" where the system's document says so, "decided" where
    it says nothing that works, "nice" where only its program does it.
    """

    number: str
    dialect: str
    weight: Literal["must", "decided", "nice"]
    promise: str
    missing: str = ""


class Path(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A route of a dialect."""

    dialect: str
    method: str
    path: str
    summary: str


def scenarios() -> list[Scenario]:
    """Return what each dialect was asked to do, in order of number."""
    return msgspec.json.decode(_read("scenarios.json"), type=list[Scenario])


def paths() -> list[Path]:
    """Return the routes of all dialects."""
    return msgspec.json.decode(_read("paths.json"), type=list[Path])


def words() -> list[dict[str, str]]:
    """Return rows of words for the same thing: ``engine`` and each dialect's name."""
    return msgspec.json.decode(_read("words.json"), type=list[dict[str, str]])


def page(tests: dict[str, list[str]]) -> str:
    """Return docs/reference/dialects.md.

    Args:
        tests: By number of a scenario the tests that show it.
    """
    return "\n".join([*_HEAD, *_word_lines(), *_path_lines(), *_scenario_lines(tests)]) + "\n"


_HEAD = (
    "# Front doors",
    "",
    "Five systems that people use, each with its own paths and words, on one engine and one port.",
    "Every run is also there under `/api/workflow/{id}`, in Conductor's words, with",
    "`/api/workflow/{id}/stream` and `/why`. `batuta dialects` prints this page's contents; it is",
    "written by `.venv/bin/python tests/dialects/test_reference.py`, and a test compares them.",
    "",
    "All paths are there as they are, and once more below `/d/NAME`, whatever others claim them.",
    "`--listen 3000=steps` opens a further port where one front door is alone.",
)


def _word_lines() -> list[str]:
    head = ["the engine", *NAMES]
    lines = ["", "## Words", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return lines + [
        f"| {' | '.join(row[name] for name in ('engine', *NAMES))} |" for row in words()
    ]


def _path_lines() -> list[str]:
    lines = ["", "## Paths", "", "| front door | call | what it does |", "|---|---|---|"]
    return lines + [
        f"| {one.dialect} | `{one.method} {one.path}` | {one.summary} |" for one in paths()
    ]


def _scenario_lines(tests: dict[str, list[str]]) -> list[str]:
    lines = [
        "",
        "## What each was asked to do",
        "",
        "Tests stand in `tests/dialects`; `make test` runs them.",
    ]
    for name in NAMES:
        own = [one for one in scenarios() if one.dialect == name]
        met = sum(not one.missing for one in own)
        lines += ["", f"### {name}: {met} of {len(own)}", ""]
        lines += ["| number | what | weight | shown by |", "|---|---|---|---|"]
        lines += [
            f"| {one.number} | {one.promise} | {one.weight} | {_shown(one, tests)} |" for one in own
        ]
    return lines


def _shown(scenario: Scenario, tests: dict[str, list[str]]) -> str:
    if scenario.missing:
        return f"not met: {scenario.missing}"
    return "<br>".join(f"`{name}`" for name in tests.get(scenario.number, ()))


def _read(name: str) -> bytes:
    return _HERE.joinpath(name).read_bytes()
