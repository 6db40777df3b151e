"""The SDK's worker loop: polls, reports, and the chains that update-v2 makes of them."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from conductor.client.http.models.start_workflow_request import StartWorkflowRequest
from conductor.client.http.models.task_def import TaskDef
from conductor.client.worker.worker_task import worker_task

from tests.sdk.conftest import Sdk
from tests.sdk.fleet import Fleet
from tests.sdk.proxy import Exchange, Fate, Proxy
from tests.sdk.server import eventually

Name = Callable[[str], str]


def test_a_sync_worker_completes_a_chain(sdk: Sdk, name: Name) -> None:
    kind, chain = name("count"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind] * 5, output_parameters={"last": "${t4.output.square}"})

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def count(number: int) -> dict:
        return {"square": number * number}

    with Fleet(sdk.api_url):
        run = sdk.wait_for(sdk.start(chain))

    assert run.status == "COMPLETED"
    assert run.output == {"last": 16}
    assert [task.output_data["square"] for task in run.tasks] == [0, 1, 4, 9, 16]
    assert {task.poll_count for task in run.tasks} == {1}


def test_an_async_worker_completes_many_runs_at_a_time(sdk: Sdk, name: Name) -> None:
    kind, chain = name("greet"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind] * 2, output_parameters={"said": "${t1.output.result}"})
    met = asyncio.Barrier(4)

    @worker_task(task_definition_name=kind, thread_count=8, poll_interval_millis=20)
    async def greet(given: str, number: int) -> str:
        if number == 0:  # these return only if four are under way at a time
            await asyncio.wait_for(met.wait(), 10)
        return f"hello {given}"

    with Fleet(sdk.api_url):
        runs = [sdk.start(chain, f"guest {n}") for n in range(8)]
        ended = [sdk.wait_for(run) for run in runs]

    assert [run.output["said"] for run in ended] == [f"hello guest {n}" for n in range(8)]


def test_a_report_brings_the_next_task_without_a_poll(sdk: Sdk, proxy: Proxy, name: Name) -> None:
    kind, chain = name("count"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind] * 10)

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def count(number: int) -> dict:
        return {"number": number}

    with Fleet(proxy.api_url):
        run = sdk.wait_for(sdk.start(chain))

    reports = proxy.suffered(Fate.PASS, "/api/tasks/update-v2")
    by_poll = [e for e, _ in proxy.ledger if e.is_poll and e.answer != b"[]"]
    assert run.status == "COMPLETED"
    assert len(by_poll) == 1
    assert [report.status for report in reports] == [200] * 9 + [204]


def test_a_worker_without_update_v2_falls_back_to_plain_reports(
    sdk: Sdk, proxy: Proxy, name: Name
) -> None:
    # Only the sync runner of 2.0.0 does: the async one catches the ApiException of another module.
    kind, chain = name("count"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind] * 6)
    proxy.plan = _no_update_v2

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def count(number: int) -> dict:
        return {"number": number}

    with Fleet(proxy.api_url):
        run = sdk.wait_for(sdk.start(chain))

    refused = proxy.suffered(Fate.UNKNOWN, "/api/tasks/update-v2")
    taken = [e for e in proxy.suffered(Fate.PASS, "/api/tasks") if e.path == "/api/tasks"]
    assert run.status == "COMPLETED"
    assert len(refused) == 1, "the runner asks once and remembers"
    assert [report.status for report in taken] == [200] * 6
    assert [report.answer.decode() for report in taken] == [task.task_id for task in run.tasks]


def test_workers_of_a_domain_get_only_its_tasks(sdk: Sdk, name: Name) -> None:
    kind, chain = name("build"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind])
    seen: dict[str, list[str]] = {"arm": [], "anywhere": []}

    @worker_task(task_definition_name=kind, domain="arm", poll_interval_millis=20)
    def build_arm(given: str) -> str:
        seen["arm"].append(given)
        return "arm"

    @worker_task(task_definition_name=kind, poll_interval_millis=20)
    def build(given: str) -> str:
        seen["anywhere"].append(given)
        return "anywhere"

    with Fleet(sdk.api_url):
        eventually(
            lambda: {data.domain for data in sdk.tasks.get_task_poll_data(kind)} >= {"arm", None},
            "both workers have polled",
        )
        in_arm = [
            sdk.workflows.start_workflow(
                StartWorkflowRequest(name=chain, task_to_domain={kind: "arm"}, input={"given": g})
            )
            for g in "abc"
        ]
        free = [sdk.start(chain, g) for g in "xyz"]
        arm_runs = [sdk.wait_for(run) for run in in_arm]
        free_runs = [sdk.wait_for(run) for run in free]

    assert sorted(seen["arm"]) == ["a", "b", "c"]
    assert sorted(seen["anywhere"]) == ["x", "y", "z"]
    assert {run.tasks[0].domain for run in arm_runs} == {"arm"}
    assert {run.tasks[0].domain for run in free_runs} == {None}


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_worker_registers_its_task_definition(sdk: Sdk, name: Name, overwrite: bool) -> None:  # noqa: FBT001
    kind = name("registered")
    template = TaskDef(name=kind, retry_count=7, retry_logic="FIXED", retry_delay_seconds=2)

    @worker_task(
        task_definition_name=kind,
        register_task_def=True,
        register_schema=True,  # the schema registry is Orkes': 404, and the SDK goes on without
        overwrite_task_def=overwrite,
        task_def=template,
    )
    def work(given: str) -> str:
        return given

    with Fleet(sdk.api_url):
        eventually(
            lambda: kind in {task.name for task in sdk.metadata.get_all_task_defs()},
            "the definition is registered",
        )
    found = sdk.metadata.get_task_def(kind)

    assert (found.retry_count, found.retry_logic, found.retry_delay_seconds) == (7, "FIXED", 2)


def test_a_worker_that_may_not_overwrite_leaves_a_definition_alone(sdk: Sdk, name: Name) -> None:
    kind, chain = name("kept"), name("chain")
    sdk.define_task(kind, retry_count=5)
    sdk.define_chain(chain, [kind])

    @worker_task(
        task_definition_name=kind,
        register_task_def=True,
        overwrite_task_def=False,
        task_def=TaskDef(name=kind, retry_count=1),
    )
    def work(given: str) -> str:
        return given

    with Fleet(sdk.api_url):
        sdk.wait_for(sdk.start(chain))

    assert sdk.metadata.get_task_def(kind).retry_count == 5


def test_threads_of_a_worker_share_the_tasks_of_one_poll(sdk: Sdk, name: Name) -> None:
    kind, chain = name("slow"), name("chain")
    sdk.define_task(kind)
    sdk.define_chain(chain, [kind])
    together = threading.Barrier(4)
    runs = [sdk.start(chain, n) for n in range(4)]

    @worker_task(task_definition_name=kind, thread_count=4, poll_interval_millis=20)
    def work(given: int) -> int:
        together.wait(10)
        return given

    with Fleet(sdk.api_url):
        ended = [sdk.wait_for(run) for run in runs]

    assert {run.status for run in ended} == {"COMPLETED"}
    assert [run.tasks[0].output_data["result"] for run in ended] == [0, 1, 2, 3]


def _no_update_v2(exchange: Exchange) -> Fate:
    return Fate.UNKNOWN if exchange.path == "/api/tasks/update-v2" else Fate.PASS
