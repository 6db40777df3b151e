"""Status, definitions, queues and polls as resources, and a server that drains."""

from batuta.runtime.engine import Engine
from tests.api.client import Client
from tests.api.conftest import polled, report, simple, started, workflow


async def test_the_status_shows_output_and_variables_on_demand(client: Client) -> None:
    line = f"GET /api/workflow/{await started(client, body={'correlationId': 'c'})}/status"

    plain = (await client.ask(line)).json
    full = (await client.ask(f"{line}?includeOutput=True&includeVariables=true")).json

    assert set(plain) == {"workflowId", "status", "correlationId"}
    assert (full["output"], full["variables"]) == ({}, {})


async def test_definitions_are_registered_singly_and_in_lists(client: Client) -> None:
    """gotchas.md 19; clients.md 1.4: PUT answers a BulkResponse, JS posts with overwrite."""
    one = workflow(simple("a"))

    first = await client.ask("POST /api/metadata/workflow", one)
    taken = await client.ask("POST /api/metadata/workflow", one)
    forced = await client.ask("POST /api/metadata/workflow?overwrite=true", one)
    many = await client.ask("PUT /api/metadata/workflow", [one, workflow(simple("b"), name="v")])

    assert (first.status, taken.status, forced.status) == (200, 409, 200)
    assert many.json == {"bulkErrorResults": {}, "bulkSuccessfulResults": ["w", "v"]}
    assert taken.json["status"] == 409


async def test_a_list_with_one_invalid_definition_is_refused_whole(client: Client) -> None:
    """gotchas.md 19."""
    broken = workflow({"name": "a", "taskReferenceName": "a", "type": "SWITCH"}, name="v")

    answer = await client.ask("PUT /api/metadata/workflow", [workflow(simple("a")), broken])

    assert answer.status == 400
    faults = answer.json["validationErrors"]
    assert {fault["path"] for fault in faults} >= {"[1].tasks[0].decisionCases"}
    assert answer.json["message"] == "Validation failed, check below errors for detail."
    assert (await client.ask("GET /api/metadata/workflow")).json == []


async def test_a_small_request_with_very_many_faults_gets_no_large_answer(client: Client) -> None:
    definition = workflow(*([[]] * 30_000))  # type: ignore[list-item]

    answer = await client.ask("PUT /api/metadata/workflow", [definition])

    faults = answer.json["validationErrors"]
    assert (answer.status, len(answer.body) < 100_000) == (400, True)
    assert faults[0]["path"] == "tasks[0]"
    assert faults[-1]["message"] == "and 29500 more like these"


async def test_an_inline_definition_is_judged_and_run(client: Client) -> None:
    body = {"name": "inline", "workflowDef": workflow(simple("z"), name="inline")}
    broken = {"name": "x", "workflowDef": {"name": "x", "tasks": [{"name": "a"}]}}

    started_ = await client.ask("POST /api/workflow", body)
    refused = await client.ask("POST /api/workflow", broken)

    assert started_.status == 200
    assert (await polled(client, "z"))["workflowType"] == "inline"
    assert refused.status == 400
    assert refused.json["validationErrors"][0]["path"].startswith("workflowDef.")


async def test_replacing_a_task_definition_that_is_not_there_is_404(client: Client) -> None:
    """clients.md 1.2: the Python SDK then registers it by POST."""
    assert (await client.ask("PUT /api/metadata/taskdefs", {"name": "t"})).status == 404

    await client.ask("POST /api/metadata/taskdefs", [{"name": "t", "retryCount": 1}])

    assert (await client.ask("PUT /api/metadata/taskdefs", {"name": "t"})).status == 200
    assert (await client.ask("GET /api/metadata/taskdefs/t")).json["retryCount"] == 3


async def test_who_polled_last_is_shown(client: Client) -> None:
    await client.ask("GET /api/tasks/poll/a?workerid=me&domain=None")
    await client.ask("GET /api/tasks/poll/batch/a?workerid=you&domain=d&timeout=0")

    shown = (await client.ask("GET /api/tasks/queue/polldata?taskType=a")).json
    every = (await client.ask("GET /api/tasks/queue/polldata/all")).json

    assert [(one["workerId"], one.get("domain")) for one in shown] == [("me", None), ("you", "d")]
    assert all(one["queueName"] == "a" and one["lastPollTime"] > 0 for one in shown)
    assert every == shown


async def test_of_several_workers_the_one_that_polled_last_is_shown_first(client: Client) -> None:
    """Conductor shows one of each domain, and its clients may take the first."""
    for worker in ("one", "two", "one", "three", "one"):
        await client.ask(f"GET /api/tasks/poll/a?workerid={worker}")

    shown = (await client.ask("GET /api/tasks/queue/polldata?taskType=a")).json

    assert [data["workerId"] for data in shown] == ["one", "three", "two"]


async def test_queue_sizes_count_what_is_ready(client: Client) -> None:
    await started(client)
    await client.ask("POST /api/workflow", {"name": "w"})

    sizes = await client.ask("GET /api/tasks/queue/sizes?taskType=a&taskType=b")
    size = await client.ask("GET /api/tasks/queue/size?taskType=a")

    assert sizes.json == {"a": 2, "b": 0}
    assert (size.body, (await client.ask("GET /api/tasks/queue/all")).json) == (b"2", {"a": 2})


async def test_a_draining_server_starts_nothing_and_still_takes_reports(
    client: Client, engine: Engine
) -> None:
    """DESIGN.md rule 12: a worker's report never gets an error because we are busy."""
    await started(client)
    await client.ask("POST /api/workflow", {"name": "w"})
    task = await polled(client)

    engine.is_draining = True

    refused = await client.ask("POST /api/workflow", {"name": "w"})
    by_name = await client.ask("POST /api/workflow/w", {})
    batch = await client.ask("GET /api/tasks/poll/batch/a")
    single = await client.ask("GET /api/tasks/poll/a")
    chained = await client.ask("POST /api/tasks/update-v2", report(task))
    health = await client.ask("GET /health")
    assert (refused.status, by_name.status) == (503, 503)
    assert refused.json["retryable"] is True
    assert int(refused.headers["retry-after"]) >= 1
    assert (batch.body, single.status, chained.status, health.status) == (b"[]", 204, 204, 503)
