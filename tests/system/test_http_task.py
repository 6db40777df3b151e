"""HTTP tasks on a real engine against a real server: what they send, what they say of the answer.

Source: semantics.md c.9; gotchas.md 42.
"""

import base64
from typing import Any

import pytest

from batuta.model.command import UpdateTask
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.runtime.view import RunView
from batuta.workers.system import connection
from tests.system.conftest import House, housed
from tests.system.server import Target, raw, slow, trickle

FORM = "application/x-www-form-urlencoded"
BEGINS = "Failed to invoke HTTP task due to: "


def response_of(run: RunView) -> Any:
    return run.tasks[-1].output.value["response"]


def reason_of(run: RunView) -> str:
    task = run.tasks[-1].task
    assert task.status is TaskStatus.FAILED, task
    assert task.reason is not None
    assert task.reason.startswith(BEGINS), task.reason
    return task.reason.removeprefix(BEGINS)


async def test_a_json_answer_completes_the_task_and_stays_the_json_it_was(
    house: House, target: Target
) -> None:
    run = await house.call(uri=f"{target.url}/json", method="GET")

    assert run.workflow.status.value == "COMPLETED"
    response = response_of(run)
    assert response["statusCode"] == 200
    assert response["reasonPhrase"] == "OK"
    assert response["body"] == {"n": 1, "big": 12345678901234567890, "x": 1.0, "t": True}
    raw_output = run.tasks[0].output.raw
    assert raw_output is not None
    assert b'"x": 1.0' in raw_output


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("text", 200, "caf\u00e9"),
        ("empty", 204, None),
        ("gzip", 200, {"packed": True}),
        ("binary", 200, base64.b64encode(b"\x89PNG\x00\xff").decode()),
    ],
)
async def test_a_body_is_json_or_text_or_base64_or_null(
    house: House, target: Target, path: str, status: int, body: Any
) -> None:
    response = response_of(await house.call(uri=f"{target.url}/{path}", method="GET"))

    assert (response["statusCode"], response["body"]) == (status, body)
    assert response.get("bodyEncoding") == ("base64" if path == "binary" else None)


async def test_headers_go_out_as_written_and_come_back_as_lists(
    house: House, target: Target
) -> None:
    headers = {"X-Text": "a", "X-Number": 7, "X-Many": ["1", "2"], "X-None": None, "Host": "there"}

    sent = await house.call(uri=f"{target.url}/echo", method="get", headers=headers)
    back = await house.call(uri=f"{target.url}/headers", method="GET")

    seen = response_of(sent)["body"]["headers"]
    assert (seen["x-text"], seen["x-number"], seen["x-many"]) == (["a"], ["7"], ["1", "2"])
    assert seen["host"] == ["there"]
    assert seen["accept"] == ["application/json"]
    assert seen["user-agent"][0].startswith("batuta/")
    assert "x-none" not in seen
    assert "content-type" not in seen
    assert response_of(back)["headers"]["Set-Cookie"] == ["a=1", "b=2"]
    assert response_of(back)["headers"]["X-One"] == ["1"]


@pytest.mark.parametrize(
    ("request_", "content_type", "body"),
    [
        ({"body": {"a": [1, None]}}, "application/json", '{"a":[1,null]}'),
        ({"body": "as it is"}, "application/json", "as it is"),
        ({"body": 5, "contentType": "text/plain"}, "text/plain", "5"),
        ({"body": {"a": "b c", "d": [1, "2"]}, "contentType": FORM}, FORM, "a=b+c&d=1&d=2"),
        ({"body": {}, "headers": {"content-type": "a/b"}}, "a/b", "{}"),
    ],
)
async def test_a_body_is_sent_as_its_type_asks(
    house: House, target: Target, request_: dict[str, Any], content_type: str, body: str
) -> None:
    await house.call(uri=f"{target.url}/echo", method="POST", accept=["a/b", "c/d"], **request_)

    [seen] = target.seen
    assert (seen["method"], seen["body"]) == ("POST", body)
    assert seen["headers"]["content-type"] == [content_type]
    assert seen["headers"]["accept"] == ["a/b, c/d"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_is_called(house: House, target: Target, method: str) -> None:
    run = await house.call(uri=f"{target.url}/json", method=method)

    assert run.workflow.status.value == "COMPLETED"
    assert [seen["method"] for seen in target.seen] == [method]
    assert (response_of(run)["body"] is None) == (method == "HEAD")


async def test_the_request_may_stand_in_the_input_itself(house: House, target: Target) -> None:
    run = await house.until(await house.start({"uri": f"{target.url}/json", "method": "GET"}))

    assert response_of(run)["body"]["n"] == 1


@pytest.mark.parametrize("status", [400, 404, 500, 503, 304])
async def test_an_answer_that_is_no_success_fails_the_task_and_is_kept(
    house: House, target: Target, status: int
) -> None:
    run = await house.call(uri=f"{target.url}/{status}?key=secret", method="PUT")

    assert run.workflow.status.value == "FAILED"
    assert len(run.tasks) == 1, "a system task without a definition is not retried"
    assert response_of(run)["statusCode"] == status
    assert response_of(run)["body"] == (None if status == 304 else {"error": "as asked"})
    reason = reason_of(run)
    assert reason.startswith(f"{status} ")
    assert f"from PUT {target.url}/{status}" in reason
    assert "secret" not in reason
    assert ("as asked" in reason) == (status != 304)


async def test_a_task_definition_says_how_often_a_failed_call_is_tried_again(
    house: House, target: Target
) -> None:
    task_def = {"name": "call", "retryCount": 2, "retryDelaySeconds": 0}
    await house.engine.definitions.put_task_defs([task_def])

    run = await house.call(uri=f"{target.url}/500", method="GET")

    assert [task.task.retry_count for task in run.tasks] == [0, 1, 2]
    assert len(target.seen) == 3


@pytest.mark.parametrize(
    ("task_input", "named"),
    [
        ({"http_request": {"method": "GET"}}, "uri"),
        ({"http_request": {"uri": "http://127.0.0.1/"}}, "method"),
        ({"http_request": "http://127.0.0.1/"}, "http_request"),
        ({"uri": "http://127.0.0.1/", "method": "CONNECT"}, "method"),
        ({"uri": 5, "method": "GET"}, "uri"),
        ({"uri": "file:///etc/passwd", "method": "GET"}, "'file'"),
        ({"uri": "gopher://127.0.0.1/", "method": "GET"}, "'gopher'"),
        ({"uri": "/path", "method": "GET"}, "uri"),
        ({"uri": "http://[::1", "method": "GET"}, "uri"),
        ({"uri": "http://h/", "method": "GET", "headers": {"a b": "c"}}, "headers"),
        ({"uri": "http://h/", "method": "GET", "headers": {"a": "b\r\nc: d"}}, "'a'"),
        ({"uri": "http://h/", "method": "GET", "headers": ["a"]}, "headers"),
        ({"uri": "http://h/", "method": "GET", "accept": "a\nb"}, "accept"),
        ({"uri": "http://h/", "method": "GET", "contentType": 5}, "contentType"),
        ({"uri": "http://h/", "method": "GET", "readTimeOut": "soon"}, "readTimeOut"),
        ({"uri": "http://h/", "method": "GET", "connectionTimeOut": -1}, "connectionTimeOut"),
        ({"uri": "http://h/", "method": "GET", "connectionTimeOut": True}, "connectionTimeOut"),
    ],
)
async def test_an_input_that_is_no_request_fails_and_names_what_is_wrong(
    house: House, task_input: dict[str, Any], named: str
) -> None:
    run = await house.until(await house.start({"uri": None, **task_input}))

    assert named in reason_of(run)
    assert response_of(run) == reason_of(run)


async def test_a_server_that_never_answers_fails_the_task_after_its_read_time(
    house: House,
) -> None:
    async with raw(None) as url:
        run = await house.call(uri=url, method="GET", readTimeOut="50")

    assert reason_of(run) == f"GET {url}: no answer within 50 ms (readTimeOut)"
    assert response_of(run) == reason_of(run), "without an answer it is a text, as in OSS"


async def test_a_server_that_trickles_does_not_hold_the_task_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TOTAL_S", 0.1)

    async with trickle() as url:
        run = await house.call(uri=url, method="GET", connectionTimeOut=400, readTimeOut=400)

    assert reason_of(run) == f"no whole answer from {url} within 0.8 s"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "the server hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "the answer broke off"),
        (b"SSH-2.0-x\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "the answer is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", "gzip"),
    ],
)
async def test_an_answer_that_is_none_fails_the_task_and_says_why(
    house: House, answer: bytes, why: str
) -> None:
    async with raw(answer) as url:
        reason = reason_of(await house.call(uri=f"{url}/p?key=secret", method="GET"))

    assert reason.startswith(f"GET {url}/p: ")
    assert why in reason
    assert "secret" not in reason


async def test_a_port_where_nobody_listens_fails_the_task(house: House) -> None:
    async with raw(b"") as url:
        pass

    reason = reason_of(await house.call(uri=url, method="GET"))

    assert reason.startswith(f"GET {url}: cannot connect: ")


async def test_a_name_that_does_not_resolve_fails_the_task(house: House) -> None:
    request = {"uri": "http://no-such-host.invalid/", "method": "GET", "connectionTimeOut": 15_000}

    reason = reason_of(await house.call(**request))

    assert "the name has no address" in reason


@pytest.mark.parametrize("path", ["big", "bomb"])
async def test_a_body_above_the_limit_fails_the_task_and_is_not_kept(
    house: House, target: Target, path: str
) -> None:
    run = await house.call(uri=f"{target.url}/{path}", method="GET")

    assert "larger than 8,000,000 bytes" in reason_of(run)
    assert run.tasks[0].output.size_bytes < 1_000


async def test_a_body_at_the_limit_is_kept_whole(house: House, target: Target) -> None:
    run = await house.call(uri=f"{target.url}/largest", method="GET")

    assert len(response_of(run)["body"]) == 8_000_000


@pytest.mark.parametrize("where", ["node", "input"])
async def test_async_complete_leaves_a_success_open_until_somebody_reports(
    house: House, target: Target, where: str
) -> None:
    task_input: dict[str, Any] = {"uri": f"{target.url}/202", "method": "POST"}
    node: dict[str, Any] = {"asyncComplete": True} if where == "node" else {}
    if where == "input":
        task_input["asyncComplete"] = True

    workflow_id = await house.start(task_input, **node)
    run = await house.until(workflow_id, {"IN_PROGRESS"})
    held = run.tasks[0]
    assert held.lease is None
    assert held.output.value["response"]["statusCode"] == 202
    assert await house.engine.poll("HTTP", wait_ms=0) == []
    command = UpdateTask(
        workflow_id=workflow_id,
        task_id=held.task.task_id,
        status=TaskStatus.COMPLETED,
        output=Payload.of({"paid": True}),
    )
    await house.engine.update(command)
    run = await house.until(workflow_id)

    assert run.workflow.status.value == "COMPLETED"
    assert run.tasks[0].output.value == {"paid": True}
    assert len(target.seen) == 1


async def test_async_complete_does_not_keep_a_failure_open(house: House, target: Target) -> None:
    task_input = {"uri": f"{target.url}/500", "method": "POST"}

    run = await house.until(await house.start(task_input, asyncComplete=True))

    assert run.workflow.status.value == "FAILED"


async def test_a_call_under_way_when_the_worker_is_drained_is_given_back() -> None:
    async with raw(None) as url:
        async with housed(drain_ms=0) as first:
            task_input = {"uri": url, "method": "GET", "readTimeOut": 60_000}
            workflow_id = await first.start(task_input, asyncComplete=True)
            await first.until_held(workflow_id)
        run = await first.engine.get(workflow_id)

    assert run.tasks[0].task.status is TaskStatus.SCHEDULED, "open for the next worker, not parked"
    assert run.tasks[0].lease is None
    assert run.tasks[0].task.queue == "HTTP"


async def test_a_call_that_takes_longer_than_its_lease_keeps_it(house: House) -> None:
    task_def = {"name": "call", "retryCount": 0, "responseTimeoutSeconds": 1}
    await house.engine.definitions.put_task_defs([task_def])

    async with slow() as (answering, uri):
        workflow_id = await house.start({"uri": uri, "method": "GET", "readTimeOut": 60_000})
        await house.until_held(workflow_id, has_beaten=True)
        answering.is_open.set()
        run = await house.until(workflow_id)

    assert run.workflow.status.value == "COMPLETED"
    assert answering.count == 1
