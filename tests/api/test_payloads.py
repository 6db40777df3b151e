"""A payload that nobody looks into is carried from the door to the store as bytes."""

import pytest

from batuta.model.payload import Payload
from tests.api.client import Client
from tests.api.conftest import polled, report, simple, started, workflow

# Spelled as no encoder would spell it, so that the same bytes are not a coincidence.
BODY = b'{ "z" : 1.50,\n "a":[ 1e2 , "\\u00e9" ], "null":null }'


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Payload]:
    """Give the list of payloads that are decoded from now on."""
    seen: list[Payload] = []
    original = Payload.value.fget
    assert original is not None

    def value(payload: Payload) -> object:
        if not payload.is_decoded:
            seen.append(payload)
        return original(payload)

    monkeypatch.setattr(Payload, "value", property(value))
    return seen


async def test_a_chain_whose_templates_look_nowhere_decodes_no_payload(
    client: Client, decoded: list[Payload]
) -> None:
    tasks = [simple(name) for name in "abc"]
    await client.ask("PUT /api/metadata/workflow", [workflow(*tasks)])

    start = await client.ask("POST /api/workflow", raw=b'{"name":"w","input":' + BODY + b"}")
    for name in "abc":
        task = await polled(client, name)
        ids = f'"workflowInstanceId":"{start.body.decode()}","taskId":"{task["taskId"]}"'.encode()
        answer = await client.ask(
            "POST /api/tasks",
            raw=b'{"status":"COMPLETED",' + ids + b',"outputData":' + BODY + b"}",
        )
        assert answer.status == 200

    shown = await client.ask(f"GET /api/workflow/{start.body.decode()}")
    assert shown.json["status"] == "COMPLETED"
    assert shown.body.count(BODY) >= 4
    assert [payload for payload in decoded if payload.raw == BODY] == []


async def test_a_template_that_names_a_field_decodes_that_payload_once(
    client: Client, decoded: list[Payload]
) -> None:
    """So the test above can fail."""
    looking = simple("b", inputParameters={"z": "${a.output.z}", "n": "${a.output.null}"})
    await started(client, simple("a"), looking)
    task = await polled(client)

    await client.ask("POST /api/tasks", report(task, outputData={"z": 1.5, "null": None}))

    assert (await polled(client, "b"))["inputData"] == {"z": 1.5, "n": None}
    assert len([payload for payload in decoded if b'"z"' in (payload.raw or b"")]) == 1


async def test_a_whole_input_given_to_a_task_keeps_its_bytes(client: Client) -> None:
    whole = simple("a", inputParameters={"all": "${workflow.input}"})
    await client.ask("PUT /api/metadata/workflow", [workflow(whole)])

    await client.ask("POST /api/workflow/w", raw=BODY)

    assert (await polled(client))["inputData"]["all"] == {
        "z": 1.5,
        "a": [100.0, "é"],
        "null": None,
    }
