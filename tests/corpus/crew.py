"""Generic workers and people over HTTP: they answer whatever there is to do until all runs end.

One loop for all task types: it asks which queues hold tasks, polls those, and answers each task
by the plan of its run, which the run's correlation id names. When no queue holds anything it
looks at the runs that are open, and reports on their WAIT and HUMAN tasks.
"""

import asyncio
import json
import re
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.corpus.plausible import Json, Plan

AT_ONCE = 16  # requests under way: enough to share commits, too few to be in each other's way
ROUND_S = 0.05  # between two looks when nothing was there
LIMIT_S = 60.0
ENDED = {"COMPLETED", "FAILED", "TIMED_OUT", "TERMINATED"}
PEOPLE = {"WAIT", "HUMAN"}
FATAL = "FAILED_WITH_TERMINAL_ERROR"
FAILURE = "the generic worker was told to fail"
_PASS = re.compile(r"__\d+$")


class Crew:
    """Asks and answers a server; ``plans`` by correlation id, then by the workflow's name."""

    def __init__(self, url: str) -> None:
        self.plans: dict[str, dict[str, Plan]] = {}
        self.answered = 0
        self._url = url
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._session = aiohttp.ClientSession()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request; give the status, and the answer as JSON, or as text if it is none."""
        async with self._gate, self._session.request(method, self._url + path, json=body) as answer:
            text = await answer.text()
            is_json = answer.content_type == "application/json"
            return answer.status, json.loads(text) if is_json else text

    async def must(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request that is to be done."""
        status, answer = await self.ask(method, path, body)
        assert status in (200, 204), (method, path, status, answer)
        return answer

    async def run_all(self, workflow_ids: list[str]) -> dict[str, Json]:
        """Work until all these runs have ended, and give them by id, with their tasks."""
        ended: dict[str, Json] = {}
        async with asyncio.timeout(LIMIT_S):
            while len(ended) < len(workflow_ids):
                if await self._work():
                    continue
                open_ids = [one for one in workflow_ids if one not in ended]
                runs = await asyncio.gather(*(self.run(one) for one in open_ids))
                ended |= {run["workflowId"]: run for run in runs if run["status"] in ENDED}
                reports = [self._report_for_people(run) for run in runs]
                if not sum(await asyncio.gather(*reports)):
                    await asyncio.sleep(ROUND_S)
        return ended

    async def run(self, workflow_id: str) -> Json:
        """Give a run with its tasks."""
        found: Json = await self.must("GET", f"/workflow/{workflow_id}")
        return found

    async def _work(self) -> int:
        """Poll every queue that holds tasks, answer them all, and say how many there were."""
        sizes: dict[str, int] = await self.must("GET", "/tasks/queue/all")
        polls = [
            self.must("GET", f"/tasks/poll/batch/{queue}?count={size}&timeout=0&workerid=generic")
            for queue, size in sizes.items()
            if size > 0
        ]
        tasks = [task for found in await asyncio.gather(*polls) for task in found]
        await asyncio.gather(*(self._answer(task) for task in tasks))
        return len(tasks)

    async def _answer(self, task: Json) -> None:
        plans = self.plans.get(task.get("correlationId", ""), {})
        plan = plans.get(task["workflowType"])
        name = _PASS.sub("", task["referenceTaskName"])
        self.answered += 1
        await self.must(
            "POST",
            "/tasks",
            {
                "workflowInstanceId": task["workflowInstanceId"],
                "taskId": task["taskId"],
                "status": FATAL if plan and name in plan.failing else "COMPLETED",
                "outputData": plan.outputs.get(name, {}) if plan else {},
                "reasonForIncompletion": FAILURE if plan and name in plan.failing else None,
            },
        )

    async def _report_for_people(self, run: Json) -> int:
        """Answer what waits for somebody in a run and in its sub-workflows."""
        found = 0
        for task in run["tasks"]:
            if task["status"] != "IN_PROGRESS":
                continue
            if task["taskType"] in PEOPLE:
                await self._answer(task)
                found += 1
            elif task.get("subWorkflowId"):
                found += await self._report_for_people(await self.run(task["subWorkflowId"]))
        return found
