"""Admin, queue admin, actuator and version; pages of a run's tasks; the queues in detail."""

import pytest

import batuta
from batuta.runtime.engine import Engine
from tests.api.client import Client
from tests.api.conftest import names, polled, report, simple, started, workflow

PAIR = {
    "name": "fork",
    "taskReferenceName": "fork",
    "type": "FORK_JOIN",
    "forkTasks": [[simple("a")], [simple("b")]],
}
JOIN = {"name": "join", "taskReferenceName": "join", "type": "JOIN", "joinOn": ["a", "b"]}
WAIT = {"name": "hold", "taskReferenceName": "hold", "type": "WAIT"}


async def test_the_tasks_of_a_run_are_turned_page_by_page(client: Client) -> None:
    line = f"GET /api/workflow/{await started(client, PAIR, JOIN)}/tasks"

    whole = (await client.ask(line)).json
    page = (await client.ask(f"{line}?start=1&count=2")).json
    beyond = (await client.ask(f"{line}?start=4")).json

    assert names(whole["results"], "referenceTaskName") == ["fork", "a", "b", "join"]
    assert whole["totalHits"] == page["totalHits"] == 4
    assert page["results"] == whole["results"][1:3]
    assert beyond == {"totalHits": 4, "results": []}


async def test_the_tasks_of_a_run_are_chosen_by_status(client: Client) -> None:
    """A polled task is IN_PROGRESS, though its row is not written anew by a poll."""
    line = f"GET /api/workflow/{await started(client, PAIR, JOIN)}/tasks"
    await polled(client, "a")

    one = (await client.ask(f"{line}?status=scheduled")).json
    joined = (await client.ask(f"{line}?status=SCHEDULED,completed&count=1")).json
    repeated = (await client.ask(f"{line}?status=IN_PROGRESS&status=COMPLETED")).json

    assert names(one["results"], "referenceTaskName") == ["b"]
    assert (joined["totalHits"], len(joined["results"])) == (2, 1)
    assert names(repeated["results"], "referenceTaskName") == ["fork", "a", "join"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=DONE", "status"),
        ("start=-1", "start"),
        ("count=0", "count"),
        ("count=9999", "count"),
    ],
)
async def test_a_page_of_tasks_that_cannot_be_meant_is_400(
    client: Client, query: str, field: str
) -> None:
    answer = await client.ask(f"GET /api/workflow/{await started(client)}/tasks?{query}")

    assert (answer.status, answer.json["validationErrors"][0]["path"]) == (400, field)


async def test_the_tasks_of_an_unknown_run_are_404(client: Client) -> None:
    assert (await client.ask("GET /api/workflow/nobody/tasks")).status == 404


async def test_the_verbose_queues_count_what_workers_hold(client: Client) -> None:
    await started(client)
    await client.ask("POST /api/workflow", {"name": "w"})
    await polled(client)

    answer = await client.ask("GET /api/tasks/queue/all/verbose")

    assert answer.json == {"a": {"a": {"size": 1, "uacked": 1}}}


async def test_requeue_answers_how_many_tasks_of_a_type_are_ready(client: Client) -> None:
    await started(client)
    await client.ask("POST /api/workflow", {"name": "w", "taskToDomain": {"a": "d"}})
    await client.ask("POST /api/workflow", {"name": "w"})
    await polled(client)

    answer = await client.ask("POST /api/tasks/queue/requeue/a")
    none = await client.ask("POST /api/tasks/queue/requeue/b")

    assert (answer.body, none.body) == (b"2", b"0")


async def test_pending_tasks_are_those_of_a_name_that_have_not_ended(client: Client) -> None:
    done = await started(client)
    await client.ask("POST /api/tasks", report(await polled(client)))
    await client.ask("POST /api/workflow", {"name": "w"})
    await client.ask("POST /api/workflow", {"name": "w"})
    held = await polled(client)

    pending = (await client.ask("GET /api/admin/task/a")).json
    page = (await client.ask("GET /api/admin/task/a?start=1&count=1")).json
    quoted = (await client.ask("GET /api/admin/task/a%22%20OR%20status%20%3D%20%22COMPLETED")).json

    assert len(pending) == 2
    assert done not in names(pending, "workflowInstanceId")
    assert held["taskId"] in names(pending, "taskId")
    assert page == pending[1:]
    assert quoted == [], "a name is data, whatever it spells"


async def test_a_sound_run_needs_no_repair(client: Client) -> None:
    workflow_id = await started(client)
    before = (await client.ask(f"GET /api/workflow/{workflow_id}")).json

    swept = await client.ask(f"POST /api/admin/sweep/requeue/{workflow_id}")
    repaired = await client.ask(f"POST /api/admin/consistency/verifyAndRepair/{workflow_id}")

    assert (swept.body, repaired.body) == (f"false.{workflow_id}".encode(), b"false")
    assert (await client.ask(f"GET /api/workflow/{workflow_id}")).json == before


@pytest.mark.parametrize("path", ["sweep/requeue", "consistency/verifyAndRepair"])
async def test_an_unknown_run_cannot_be_repaired(client: Client, path: str) -> None:
    assert (await client.ask(f"POST /api/admin/{path}/nobody")).status == 404


@pytest.mark.parametrize("is_by_id", [False, True])
async def test_a_report_from_outside_completes_a_wait(client: Client, *, is_by_id: bool) -> None:
    workflow_id = await started(client, WAIT)
    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    place = f"task/{run['tasks'][0]['taskId']}" if is_by_id else "hold"
    line = f"POST /api/queue/update/{workflow_id}/{place}"

    other = await client.ask(f"{line}/IN_PROGRESS", {"x": 1})
    done = await client.ask(f"{line}/COMPLETED", {"x": 1})
    again = await client.ask(f"{line}/FAILED", {"x": 2})

    ended = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert (other.status, other.json["validationErrors"][0]["path"]) == (400, "status")
    assert (done.status, done.body, again.status) == (200, b"", 200)
    assert (ended["status"], ended["tasks"][0]["outputData"]) == ("COMPLETED", {"x": 1})


async def test_a_report_from_outside_on_what_is_not_there_is_404(client: Client) -> None:
    workflow_id = await started(client, WAIT)
    run = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    task_id = run["tasks"][0]["taskId"]

    for place in ("nobody/hold", "nobody/task/x", f"nobody/task/{task_id}"):
        answer = await client.ask(f"POST /api/queue/update/{place}/COMPLETED", {})
        assert answer.status == 404, place


async def test_the_status_queues_hold_nothing(client: Client) -> None:
    by_status = (await client.ask("GET /api/queue/")).json
    sizes = (await client.ask("GET /api/queue/size")).json

    assert set(by_status) == {"COMPLETED", "FAILED"}
    assert sizes == dict.fromkeys(by_status.values(), 0)


async def test_the_version_is_text_and_in_the_configuration(client: Client) -> None:
    version = await client.ask("GET /api/version")
    config = (await client.ask("GET /api/admin/config")).json

    assert version.body.decode() == batuta.__version__ == config["version"]
    assert config["batuta.store"] == "memory"
    assert all(isinstance(value, str) for value in config.values())


async def test_a_monitor_of_spring_boot_sees_us_up_and_stopping(
    client: Client, engine: Engine
) -> None:
    up = await client.ask("GET /actuator/health")
    engine.is_draining = True
    stopping = await client.ask("GET /actuator/health")

    assert (up.status, up.json["status"]) == (200, "UP")
    assert (stopping.status, stopping.json["status"]) == (503, "OUT_OF_SERVICE")
    assert (await client.ask("GET /actuator/info")).json == {}


async def test_runs_are_fetched_by_their_ids(client: Client) -> None:
    """gotchas.md 11: Conductor shows its inner model here."""
    failed = await started(client)
    task = await polled(client)
    await client.ask("POST /api/tasks", report(task, "FAILED_WITH_TERMINAL_ERROR"))
    ids = [failed, "nobody", failed]

    whole = (await client.ask("POST /api/workflow/bulk/search", ids)).json
    bare = (await client.ask("POST /api/workflow/bulk/search?includeTasks=false", ids)).json

    [run] = whole["bulkSuccessfulResults"]
    shown = (await client.ask(f"GET /api/workflow/{failed}")).json
    assert run == {**shown, "updatedTime": shown["updateTime"], "failedTaskId": task["taskId"]}
    assert list(whole["bulkErrorResults"]) == ["nobody"]
    assert bare["bulkSuccessfulResults"][0]["tasks"] == []


@pytest.mark.parametrize("ids", [[], ["x"] * 1_001, "x", [1], {"x": 1}], ids=["0", "1001", *"abc"])
async def test_a_list_of_ids_that_is_none_is_400(client: Client, ids: object) -> None:
    answer = await client.ask("POST /api/workflow/bulk/search", ids)

    assert (answer.status, answer.json["validationErrors"][0]["path"]) == (400, "body")


async def test_definitions_are_listed_by_their_classifier(client: Client) -> None:
    tagged = workflow(simple("a"), name="tagged", metadata={"classifier": "Report"})
    await client.ask("PUT /api/metadata/workflow", [workflow(simple("a")), tagged])
    line = "GET /api/metadata/workflow"

    found = {
        word: names((await client.ask(f"{line}?classifier={word}")).json, "name")
        for word in ("workflow", "REPORT", "agent", "")
    }

    assert found == {"workflow": ["w"], "REPORT": ["tagged"], "agent": [], "": ["tagged", "w"]}
