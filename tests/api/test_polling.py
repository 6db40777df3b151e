"""Long polls: they wait, are taken back when their client goes, and lose no task."""

import asyncio
from collections.abc import Callable

import pytest

from batuta.api.hot import is_gone
from batuta.runtime.engine import Engine
from batuta.runtime.queues import LOCAL_WORKER
from tests.api.client import Client
from tests.api.conftest import polled, report, started

ANSWER_S = 2  # well before the 5 s that the polls here would wait
TURNS_MAX = 1_000  # of the event loop until something that needs no time must have happened


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    for _ in range(TURNS_MAX):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be")


def waiting(engine: Engine, queue: str = "a") -> int:
    return sum(waiter.is_open() for waiter in engine.committer.queues.get(queue).waiters)


async def test_a_poll_that_waits_is_answered_by_a_start(client: Client, engine: Engine) -> None:
    await started(client)
    await polled(client)
    poll = asyncio.create_task(client.ask("GET /api/tasks/poll/batch/a?timeout=5000&count=3"))
    await until(lambda: waiting(engine) == 1)

    workflow_id = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()

    answer = await poll
    assert [task["workflowInstanceId"] for task in answer.json] == [workflow_id]


async def test_a_batch_poll_is_answered_as_soon_as_one_task_is_there(client: Client) -> None:
    """DESIGN.md rule 8, unlike gotchas.md 25: it does not wait for ``count`` tasks."""
    await started(client)

    answer = await client.ask("GET /api/tasks/poll/batch/a?timeout=5000&count=100")

    assert len(answer.json) == 1


async def test_a_batch_poll_gives_up_to_count_tasks(client: Client) -> None:
    await started(client)
    for _ in range(4):
        await client.ask("POST /api/workflow", {"name": "w"})

    first = (await client.ask("GET /api/tasks/poll/batch/a?count=3&timeout=0")).json
    rest = (await client.ask("GET /api/tasks/poll/batch/a?count=3&timeout=0")).json

    ids = [task["taskId"] for task in [*first, *rest]]
    assert (len(first), len(rest), len(set(ids))) == (3, 2, 5)


async def test_nobody_outside_polls_in_the_name_of_the_workers_inside(client: Client) -> None:
    """A restarted server takes back what was leased in that name: its holder is gone for sure."""
    await started(client)
    await client.ask("POST /api/workflow", {"name": "w"})

    answers = [
        await client.ask(f"GET /api/tasks/poll/{path}workerid={LOCAL_WORKER}")
        for path in ("a?", "batch/a?timeout=0&")
    ]
    task = await polled(client)
    update = report(task, workerId=LOCAL_WORKER)
    answers.append(await client.ask("POST /api/tasks/update-v2", update))

    assert [answer.status for answer in answers] == [400] * 3
    assert all("inside the server" in answer.json["message"] for answer in answers)
    assert (await client.ask("POST /api/tasks", update)).status == 200, "a report leases nothing"


async def test_a_poll_for_no_task_takes_none(client: Client) -> None:
    await started(client)

    assert (await client.ask("GET /api/tasks/poll/batch/a?count=0")).body == b"[]"
    assert (await polled(client))["pollCount"] == 1


async def test_a_client_that_hangs_up_while_it_waits_is_passed_over(
    client: Client, engine: Engine
) -> None:
    await started(client)
    await polled(client)
    gone = asyncio.Event()
    poll = asyncio.create_task(client.call("GET /api/tasks/poll/batch/a?timeout=5000", gone=gone))
    await until(lambda: waiting(engine) == 1)

    gone.set()

    done, _ = await asyncio.wait({poll}, timeout=ANSWER_S)
    assert done
    assert poll.result() is None
    assert waiting(engine) == 0
    await client.ask("POST /api/workflow", {"name": "w"})
    assert (await polled(client))["pollCount"] == 1


async def test_a_task_whose_client_has_gone_is_given_back(client: Client) -> None:
    """It is ready at once for another; it does not sit out its lease."""
    await started(client)
    gone = asyncio.Event()
    gone.set()

    for line in ("GET /api/tasks/poll/batch/a?count=5", "GET /api/tasks/poll/a"):
        assert await client.call(line, gone=gone) is None

    answer = await client.ask("GET /api/tasks/poll/batch/a?timeout=5000")
    assert len(answer.json) == 1


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_task_is_given_back_when_its_client_goes_in_the_turn_it_is_given(
    client: Client, engine: Engine, *, is_first: bool
) -> None:
    await started(client)
    given = await engine.poll("a")
    gone = asyncio.Event()
    poll = asyncio.create_task(client.call("GET /api/tasks/poll/batch/a?timeout=5000", gone=gone))
    await until(lambda: waiting(engine) == 1)
    waiter = engine.committer.queues.get("a").next_waiter()
    assert waiter is not None
    waiter.is_reserved = True

    for step in (gone.set, lambda: waiter.resolve(given))[:: 1 if is_first else -1]:
        step()

    assert await poll is None
    assert (await polled(client))["taskId"] == given[0].task.task_id


async def test_the_next_task_of_an_update_v2_whose_client_has_gone_is_given_back(
    client: Client,
) -> None:
    await started(client)
    second = (await client.ask("POST /api/workflow", {"name": "w"})).body.decode()
    task = await polled(client)
    gone = asyncio.Event()
    gone.set()

    assert await client.call("POST /api/tasks/update-v2", report(task), gone=gone) is None

    answer = await client.ask("GET /api/tasks/poll/batch/a?timeout=5000")
    assert [one["workflowInstanceId"] for one in answer.json] == [second]
    shown = (await client.ask(f"GET /api/workflow/{task['workflowInstanceId']}")).json
    assert shown["status"] == "COMPLETED"


async def test_a_poll_of_a_server_that_stops_is_answered(client: Client, engine: Engine) -> None:
    poll = asyncio.create_task(client.ask("GET /api/tasks/poll/batch/a?timeout=5000"))
    await until(lambda: waiting(engine) == 1)

    await engine.stop()

    assert (await poll).body == b"[]"


async def test_a_poll_that_is_cancelled_with_its_connection_leaks_nothing(
    client: Client, engine: Engine
) -> None:
    before = len(asyncio.all_tasks())
    poll = asyncio.create_task(client.ask("GET /api/tasks/poll/batch/a?timeout=5000"))
    await until(lambda: waiting(engine) == 1)

    poll.cancel()
    await asyncio.wait([poll])

    await until(lambda: len(asyncio.all_tasks()) == before)
    assert waiting(engine) == 0


async def test_looking_whether_the_client_has_gone_takes_no_message() -> None:
    messages: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    assert not is_gone(messages.get)
    messages.put_nowait({"type": "http.disconnect"})
    assert is_gone(messages.get)
