"""The recorded definitions by `POST /api/workflow/test`: they end as their runs do."""

import asyncio
import re
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from tests.corpus.crew import Crew
from tests.corpus.end import faults_of
from tests.corpus.library import Case, cases_of, load, registered
from tests.corpus.plausible import Json, Plan
from tests.corpus.walker import Prediction

AT_ONCE = 4  # what a server takes
_PASS = re.compile(r"__\d+$")


def request_of(name: str, plans: dict[str, Plan], expected: Prediction) -> Json:
    """Give what each task of a run answers, as often as it runs, its sub-workflows' with it."""
    answers: dict[str, list[Json]] = {}
    outputs = plans[name].outputs
    for (reference_name, _), count in expected.trail.items():
        if reference_name not in expected.children:
            bare = _PASS.sub("", reference_name)
            answers.setdefault(bare, []).extend([{"output": outputs.get(bare, {})}] * count)
    children = {
        reference_name: request_of(child.name, plans, child)
        for reference_name, child in expected.children.items()
    }
    return {"taskRefToMockOutput": answers, "subWorkflowTestRequest": children}


async def test_every_definition_that_is_tested_ends_as_a_run_of_it(
    crew: Crew, corpus: Path
) -> None:
    documents = load(corpus)
    await crew.must("PUT", "/metadata/workflow", registered(documents))
    cases = [case for case in cases_of(documents) if case.expected.is_exact]
    before = await crew.must("GET", "/tasks/queue/all")
    gate = asyncio.Semaphore(AT_ONCE)

    async def rehearse(case: Case) -> list[str]:
        body = request_of(case.definition["name"], case.plans, case.expected)
        body |= {"workflowDef": case.definition, "input": case.given}
        async with gate:
            status, run = await crew.ask("POST", "/workflow/test", body)
        if status != 200:
            return [f"{case.key}: {status} {run}"]
        alone = replace(case.expected, children={})  # the others' runs are kept nowhere
        return await faults_of(crew, run, alone, case.definition, case.key)

    faults = [one for found in await asyncio.gather(*map(rehearse, cases)) for one in found]
    assert faults == []
    assert Counter(case.expected.status for case in cases)["COMPLETED"] > 300
    assert await crew.must("GET", "/tasks/queue/all") == before, "no worker is offered anything"
