"""Payloads: written once, carried as they are, brought by fetch when they are large."""

import json

import pytest
from msgspec.structs import replace

from batuta.model.error import StoreError
from batuta.model.execution import TaskStatus
from batuta.model.payload import Payload
from batuta.testing import builders
from batuta.testing.builders import put_task, put_workflow, same_json, start, step, task, workflow
from batuta.testing.cases.subject import Subject, a_run, accept, loaded

LARGE = Payload(b'{"text":"' + b"x" * 1_000_000 + b'"}')

ODD_DOCUMENTS = [
    b"{}",
    b"null",
    b'""',
    b"[]",
    b"[1,2.5,-0.0,1e300,5e-324,0.1,123456789.123456789]",
    b"[9007199254740993,-9223372036854775808,18446744073709551615]",
    b"123456789012345678901234567890",
    b'"\\u0000\\u001f\\"\\\\\\/\\b\\f\\n\\r\\t"',
    '"é \U0001f3bc \u2028 \ufeff \x7f"'.encode(),
    b'"\\ud83c\\udfbc"',
    b'{"":1,"a b":{"\'":"--","$":"${x}","null":null}}',
    b'{"z":1,"a":2,"m":[{"k":[true,false]}]}',
    b"[" * 900 + b"]" * 900,
    b'{"a":' * 400 + b"1" + b"}" * 400,
    b' { "spaced" : [ 1 , 2 ] } ',
]


class PayloadCases:
    """Inputs, outputs and variables."""

    async def test_payloads_of_run_and_tasks_come_back(self, store: Subject) -> None:
        header, first = workflow(), task(1)
        parts = {name: Payload.of({"part": name}) for name in ("input", "output", "variables")}
        given, result = Payload.of({"given": 1}), Payload.of({"result": 2})
        put = put_task(first, input=given, output=result)

        await accept(store, step(header.workflow_id, 0, put_workflow(header, None, **parts), put))

        found = await loaded(store, header.workflow_id)
        assert found.input is not None
        assert found.input.is_loaded
        assert same_json(found.input, parts["input"])
        assert same_json(found.output, parts["output"])
        assert same_json(found.variables, parts["variables"])
        assert same_json(found.tasks[0][1], given)
        assert same_json(found.tasks[0][2], result)

    @pytest.mark.parametrize("raw", ODD_DOCUMENTS, ids=lambda raw: repr(raw[:20]))
    async def test_any_json_comes_back_equal(self, store: Subject, raw: bytes) -> None:
        put = put_task(task(1), input=Payload(raw), output=Payload(raw))
        header = workflow()

        await accept(
            store,
            step(header.workflow_id, 0, put_workflow(header, variables=Payload(raw)), put),
        )

        found = await loaded(store, header.workflow_id)
        _, given, result = found.tasks[0]
        for payload in (given, result, found.variables):
            assert same_json(payload, Payload(raw))

    async def test_the_order_of_keys_is_kept(self, store: Subject) -> None:
        header = await a_run(store, put_task(task(1), input=Payload(b'{"z":1,"a":2,"m":3}')))

        _, given, _ = (await loaded(store, header.workflow_id)).tasks[0]

        assert given is not None
        assert list(json.loads(given.raw or b"")) == ["z", "a", "m"]

    async def test_a_payload_that_is_not_given_stays(self, store: Subject) -> None:
        given, result = Payload.of({"a": 1}), Payload.of({"b": 2})
        first = task(1)
        header = workflow()
        head = put_workflow(header, input=given, variables=given)
        await accept(store, step(header.workflow_id, 0, head, put_task(first, input=given)))

        after = replace(first, status=TaskStatus.COMPLETED)
        await accept(
            store,
            step(
                header.workflow_id,
                1,
                put_workflow(header, header, variables=result),
                put_task(after, first, output=result),
            ),
        )

        found = await loaded(store, header.workflow_id, 1)
        assert same_json(found.input, given)
        assert found.output is None
        assert same_json(found.variables, result)
        assert found.tasks[0][0] == after
        assert same_json(found.tasks[0][1], given)
        assert same_json(found.tasks[0][2], result)

    async def test_a_payload_given_again_replaces_the_first(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first, output=Payload.of("small")))

        for body in (LARGE, Payload.of("small again"), LARGE, Payload.of(1)):
            known = (await loaded(store, header.workflow_id)).workflow.version
            await accept(
                store, step(header.workflow_id, known, put_task(first, first, output=body))
            )

            [fetched] = await store.fetch([(header.workflow_id, 1, "output")])
            assert same_json(fetched, body)
            assert (await loaded(store, header.workflow_id)).tasks[0][2] is not None

    async def test_a_large_payload_is_brought_by_fetch(self, store: Subject) -> None:
        header = workflow()
        head = put_workflow(header, input=LARGE)
        await accept(store, step(header.workflow_id, 0, head, put_task(task(1), output=LARGE)))

        found = await loaded(store, header.workflow_id)

        for payload in (found.input, found.tasks[0][2]):
            assert payload is not None
            assert not payload.is_loaded
            assert payload.size_bytes == LARGE.size_bytes
        fetched = await store.fetch(
            [(header.workflow_id, 1, "output"), (header.workflow_id, 0, "input")]
        )
        assert all(same_json(payload, LARGE) for payload in fetched)

    async def test_a_status_change_leaves_a_large_payload_alone(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first, output=LARGE))

        after = replace(first, is_executed=True)
        await accept(store, step(header.workflow_id, 1, put_task(after, first)))

        [(_, _, result)] = (await loaded(store, header.workflow_id, 1)).tasks
        assert result is not None
        assert result.size_bytes == LARGE.size_bytes
        [fetched] = await store.fetch([(header.workflow_id, 1, "output")])
        assert same_json(fetched, LARGE)

    async def test_fetch_answers_in_the_order_asked(self, store: Subject) -> None:
        puts = [put_task(task(seq), input=Payload.of(seq)) for seq in range(1, 6)]
        header = await a_run(store, *puts)
        seqs = [3, 1, 5, 3]

        fetched = await store.fetch([(header.workflow_id, seq, "input") for seq in seqs])

        assert [payload.value for payload in fetched] == seqs
        assert await store.fetch([]) == []

    async def test_fetching_what_does_not_exist_is_an_error(self, store: Subject) -> None:
        header = await a_run(store, put_task(task(1), input=Payload.of(1)))
        absent = [
            (header.workflow_id, 1, "output"),
            (header.workflow_id, 2, "input"),
            (header.workflow_id, 0, "variables"),
            (builders.new_id(), 1, "input"),
            ("not a uuid", 1, "input"),
        ]

        for wanted in absent:
            with pytest.raises(StoreError):
                await store.fetch([(header.workflow_id, 1, "input"), wanted])

    async def test_a_retired_task_keeps_its_payloads(self, store: Subject) -> None:
        first = task(1)
        header = await a_run(store, put_task(first, output=Payload.of("kept")))

        await accept(store, start(workflow()), step(header.workflow_id, 1, builders.retire(first)))

        [fetched] = await store.fetch([(header.workflow_id, 1, "output")])
        assert fetched.value == "kept"
