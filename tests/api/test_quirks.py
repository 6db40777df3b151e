"""What official clients put into requests, and the server must swallow (clients.md 1.4)."""

import pytest

from tests.api.client import Client
from tests.api.conftest import started


@pytest.mark.parametrize("true", ["True", "true", "TRUE", "1"])
@pytest.mark.parametrize("false", ["False", "false"])
async def test_booleans_of_the_query_come_in_both_spellings(
    client: Client, true: str, false: str
) -> None:
    """clients.md 1.4."""
    line = f"GET /api/workflow/{await started(client)}?includeTasks="

    assert len((await client.ask(line + true)).json["tasks"]) == 1
    assert (await client.ask(line + false)).json["tasks"] == []


@pytest.mark.parametrize(
    "empty", ["", "?includeTasks=", "?includeTasks=None", "?access=x&skipCache"]
)
async def test_empty_unknown_and_none_parameters_mean_absent(client: Client, empty: str) -> None:
    """clients.md 1.4."""
    answer = await client.ask(f"GET /api/workflow/{await started(client)}{empty}")

    assert len(answer.json["tasks"]) == 1


@pytest.mark.parametrize(
    ("line", "parameter"),
    [
        ("GET /api/workflow/x?includeTasks=perhaps", "includeTasks"),
        ("GET /api/tasks/poll/batch/a?count=many", "count"),
        ("GET /api/tasks/poll/batch/a?count=99999999999", "count"),
        ("GET /api/tasks/poll/batch/a?timeout=1.5", "timeout"),
        ("GET /api/tasks/poll/batch/a?timeout=5001", "timeout"),
        ("GET /api/metadata/workflow/w?version=latest", "version"),
        ("POST /api/workflow/w?priority=100", "priority"),
        ("POST /api/tasks/x/a/DONE", "status"),
        ("GET /api/tasks/queue/polldata", "taskType"),
        ("DELETE /api/metadata/workflow/w/tags", "version"),
        ("DELETE /api/metadata/workflow/w/0", "version"),
        ("DELETE /api/metadata/workflow/w/-1", "version"),
    ],
)
async def test_a_wrong_parameter_is_400_and_named(
    client: Client, line: str, parameter: str
) -> None:
    """gotchas.md 1: Conductor answers 500; clients.md 1.4: a tag call must delete nothing."""
    answer = await client.ask(line)

    assert answer.status == 400
    assert answer.json["message"].startswith(parameter)


async def test_a_body_on_get_and_delete_is_ignored(client: Client) -> None:
    """clients.md 1.4: Python sends {} on DELETE and a content type on GET."""
    workflow_id = await started(client)
    headers = {"content-type": "application/json"}

    shown = await client.ask(f"GET /api/workflow/{workflow_id}", raw=b"{oops", headers=headers)
    ended = await client.ask(f"DELETE /api/workflow/{workflow_id}", raw=b"{}", headers=headers)

    assert (shown.status, ended.status) == (200, 200)


async def test_a_body_on_a_poll_is_not_taken_for_the_end_of_its_client(client: Client) -> None:
    await started(client)

    first = await client.ask("GET /api/tasks/poll/a", raw=[b"{", b"}"])
    empty = await client.ask("GET /api/tasks/poll/batch/a?timeout=10", raw=[b"{", b" ", b"}"])

    assert (first.status, empty.body) == (200, b"[]")


@pytest.mark.parametrize("media", [None, "application/json", "text/plain", "application/xml"])
async def test_a_body_in_chunks_with_any_content_type_is_taken(
    client: Client, media: str | None
) -> None:
    """clients.md 1.4: undici sends every body chunked."""
    await started(client)
    headers = {"content-type": media} if media else {}

    answer = await client.ask(
        "POST /api/workflow", raw=[b'{"na', b'me":', b'"w"', b"}"], headers=headers
    )

    assert answer.status == 200


async def test_a_start_by_name_takes_version_correlation_and_priority(client: Client) -> None:
    await started(client)

    line = "POST /api/workflow/w?version=1&correlationId=c%201&priority=7"
    workflow_id = (await client.ask(line, raw=b"")).body.decode()

    shown = (await client.ask(f"GET /api/workflow/{workflow_id}")).json
    assert (shown["correlationId"], shown["priority"], shown["input"]) == ("c 1", 7, {})


async def test_a_name_with_odd_characters_reaches_its_handler(client: Client) -> None:
    name = "a b/ü:+%"
    await client.ask("POST /api/metadata/taskdefs", [{"name": name}])

    answer = await client.ask("GET /api/metadata/taskdefs/a%20b%2F%C3%BC%3A+%25")

    assert answer.json["name"] == name


@pytest.mark.parametrize("path", ["/api/workflow/%FF", "/api/workflow/a%00b", "/api/%ed%a0%80"])
async def test_a_path_that_is_no_text_is_400(client: Client, path: str) -> None:
    assert (await client.ask(f"GET {path}")).status == 400
