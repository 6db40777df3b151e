"""All 215 recorded definitions over HTTP: each reads back as given, and runs to its expected end.

The expected end is worked out from the definition by a walker of our own (walker.py), the answers
of workers are made up from how the definition reads them (plausible.py), and what a definition
reads back as is worked out from Conductor's rules (echo.py).
"""

import asyncio
import json
from collections import Counter
from pathlib import Path

from tests.corpus.crew import Crew
from tests.corpus.echo import TIMES, Echo, differences
from tests.corpus.end import faults_of
from tests.corpus.library import (
    ALONE,
    NOT_COMPLETED,
    OUTSIDE,
    REFUSED,
    Case,
    cases_of,
    class_of,
    load,
    registered,
)
from tests.corpus.plausible import Json


def test_every_definition_has_its_class(corpus: Path) -> None:
    documents = load(corpus)

    found = Counter(class_of(document) for document in documents.values())

    assert sum(found.values()) == 215
    assert found == {ALONE: 160, "http": 19, "event": 2, "messages": 1, "ai": 33}
    assert set(found) == {ALONE, *OUTSIDE}
    plain = [one for one in load_manifest(corpus) if one["plain_oss"]]
    assert len(plain) == 181
    assert set(REFUSED) <= {one["file"] for one in plain}


def load_manifest(corpus: Path) -> list[Json]:
    manifest: list[Json] = json.loads((corpus / "manifest.json").read_text("utf-8"))
    return manifest


async def test_every_definition_reads_back_as_conductors_rules_say(
    crew: Crew, corpus: Path
) -> None:
    documents = load(corpus)
    echo = Echo()
    faults: list[str] = []

    for file, document in documents.items():
        status, answer = await crew.ask("PUT", "/metadata/workflow", [document])
        if file in REFUSED:
            assert status == 400, file
            assert [one["path"] for one in answer["validationErrors"]] == [REFUSED[file]]
            continue
        assert (status, answer["bulkErrorResults"]) == (200, {}), (file, answer)
        version = document.get("version") or 1
        path = f"/metadata/workflow/{document['name']}?version={version}"
        found = await crew.must("GET", path)
        expected = echo.of_workflow(document)
        for key in TIMES:
            assert isinstance(found[key], int), "they are the server's to say"
            assert found.pop(key) >= 1_700_000_000_000, file
            del expected[key]
        faults += [f"{file}{one}" for one in differences(expected, found)]

    assert faults == []
    assert echo.dropped == {"workflow.onStateChange"}, "a task has it; a workflow has not"


async def test_every_definition_runs_to_its_expected_end(crew: Crew, corpus: Path) -> None:
    documents = load(corpus)
    cases = list(cases_of(documents))
    await crew.must("PUT", "/metadata/workflow", registered(documents))

    started = await start_all(crew, cases)
    runs = await crew.run_all(list(started))

    checks = [
        faults_of(crew, runs[one], case.expected, case.definition, case.key)
        for one, case in started.items()
    ]
    faults = [fault for found in await asyncio.gather(*checks) for fault in found]
    assert faults == []
    assert len({case.file for case in cases}) == 215 - len(REFUSED), "none is left out"
    ends = {case.key: case.expected.status for case in cases}
    not_completed = {key: status for key, status in ends.items() if status != "COMPLETED"}
    assert not_completed == {key: status for key, (status, _) in NOT_COMPLETED.items()}
    assert len(cases) == 327
    assert crew.answered > 1_000


async def start_all(crew: Crew, cases: list[Case]) -> dict[str, Case]:
    """Start each case on its own definition, also where several have the same name."""
    crew.plans |= {case.key: case.plans for case in cases}
    files: dict[str, list[Case]] = {}
    for case in cases:
        files.setdefault(case.file, []).append(case)
    shared = Counter(found[0].definition["name"] for found in files.values())
    started: dict[str, Case] = {}

    async def start(case: Case) -> None:
        body = {
            "name": case.definition["name"],
            "version": case.definition.get("version") or 1,
            "input": case.given,
            "correlationId": case.key,
        }
        started[await crew.must("POST", "/workflow", body)] = case

    for found in files.values():
        if shared[found[0].definition["name"]] > 1:
            # A run keeps the definition that it was started with.
            await crew.must("PUT", "/metadata/workflow", [found[0].definition])
            await asyncio.gather(*(start(case) for case in found))
    alone = (case for case in cases if shared[case.definition["name"]] == 1)
    await asyncio.gather(*(start(case) for case in alone))
    return started
