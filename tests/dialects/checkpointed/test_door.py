"""Who may start and see jobs of class workflows, and what may be sent (S4.9, 3, 15, 16, 19)."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from batuta.dialects.checkpointed.door.token import KEY_FILE, read_duration, signing_key
from batuta.model.error import InvalidError
from batuta.runtime.clock import wall_ms
from tests.dialects.checkpointed.classes import SECRET, World, chain, form, token, world, write
from tests.dialects.checkpointed.test_run import PNG

HOUR_S = 3_600
UNKNOWN = "01999999-9999-7999-8999-999999999999"
NEEDS_TOKEN = (
    "POST /workflows/execute",
    f"POST /workflows/retry/{UNKNOWN}",
    f"GET /workflows/execution/{UNKNOWN}",
    "GET /workflows/diagnostics",
    "GET /jobs",
    "GET /jobs/stats",
    "GET /jobs/in-progress",
    f"GET /jobs/{UNKNOWN}",
    f"DELETE /jobs/{UNKNOWN}",
    f"GET /jobs/{UNKNOWN}/stream",
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    """Give a server with a workflow of one step."""
    folder = tmp_path / "workflows"
    write(folder, "job", "a", body=chain("a"))
    write(folder, "stuck", "a", body=chain("a", a="        raise ValueError('no')\n"))
    async with world(folder) as found:
        yield found


def signed(claims: dict[str, Any], *, key: str = SECRET, algorithm: str = "HS256") -> str:
    """Return a token with any claims."""
    return jwt.encode(claims, key, algorithm=algorithm)


def unsigned(**head: str) -> str:
    """Return a token without a signature, as a forger writes it."""
    claims = {"user_id": "ada", "exp": wall_ms() // 1_000 + HOUR_S}
    parts = [{"typ": "JWT", **head}, claims]
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return (b".".join(encoded) + b".").decode()


def tokens() -> dict[str, tuple[str, str]]:
    """Return headers that are refused, each with the reason that is told."""
    now_s = wall_ms() // 1_000
    later = now_s + HOUR_S
    bad, missing = "Invalid token", "Missing authentication token"
    return {
        "no scheme": (token(), missing),
        "basic": ("Basic YWRhOmFkYQ==", missing),
        "empty": ("Bearer ", missing),
        "no token": ("Bearer x.y.z", bad),
        "expired": (f"Bearer {token(now_s=now_s - 20, expires_s=10)}", "Token expired"),
        "other key": (f"Bearer {token(key=SECRET[::-1])}", bad),
        "none": (f"Bearer {unsigned(alg='none')}", bad),
        "None": (f"Bearer {unsigned(alg='None')}", bad),
        "HS512": (
            f"Bearer {signed({'user_id': 'ada', 'exp': later}, key=SECRET * 2, algorithm='HS512')}",
            bad,
        ),
        "no end": (f"Bearer {signed({'user_id': 'ada'})}", bad),
        "no user": (f"Bearer {signed({'exp': later})}", bad),
        "empty user": (f"Bearer {signed({'user_id': ' ', 'exp': later})}", bad),
        "user is a list": (f"Bearer {signed({'user_id': ['ada'], 'exp': later})}", bad),
        "user with NUL": (f"Bearer {signed({'user_id': 'a' + chr(0), 'exp': later})}", bad),
        "half a pair": (f"Bearer {signed({'user_id': chr(0xD800), 'exp': later})}", bad),
        "long": (f"Bearer {'x' * 9_000}", bad),
    }


async def test_s4_03_a_nobody_gets_in_without_a_token_but_to_the_list(here: World) -> None:
    for line in NEEDS_TOKEN:
        answer = await here.server.ask(line)

        told = {"success": False, "error": "Missing authentication token"}
        assert (answer.status, answer.json) == (401, told), line
    assert (await here.server.ask("GET /workflows/list")).status == 200


@pytest.mark.parametrize("name", list(tokens()))
async def test_s4_03_b_a_forged_or_expired_token_is_refused(here: World, name: str) -> None:
    header, told = tokens()[name]

    for line in NEEDS_TOKEN:
        answer = await here.server.ask(line, {}, headers={"authorization": header})
        assert (answer.status, answer.json["error"]) == (401, told), line


async def test_s4_03_c_only_a_stream_takes_its_token_from_the_query(here: World) -> None:
    job_id = (await here.ended("job"))["job_id"]

    stream = await here.server.ask(f"GET /jobs/{job_id}/stream?token={token()}")
    job = await here.server.ask(f"GET /jobs/{job_id}?token={token()}")

    assert (stream.status, job.status) == (200, 401)
    forged = await here.server.ask(f"GET /jobs/{job_id}/stream?token={unsigned(alg='none')}")
    assert forged.status == 401


async def test_s4_03_f_a_token_of_another_maker_with_our_key_is_good(here: World) -> None:
    now_s = wall_ms() // 1_000
    claims = {"user_id": 7, "email": "a@b.example", "iat": now_s + 60, "exp": now_s + HOUR_S}
    header = {"authorization": f"bearer {signed({**claims, 'aud': 'others'})}"}

    answer = await here.server.ask(
        "POST /workflows/execute", {"workflow_id": "job"}, headers=header
    )

    assert answer.status == 200, answer.body
    run = await here.server.engine.get(answer.json["job_id"])
    assert run.workflow.owner == "7"


def test_s4_03_d_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data"

    first, second = signing_key("", folder), signing_key("", folder)

    assert first == second
    assert len(first) == 64
    assert (folder / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == [KEY_FILE]
    assert signing_key(SECRET, folder) == SECRET
    with pytest.raises(InvalidError, match="shorter than 32 bytes"):
        signing_key("short", folder)


@pytest.mark.parametrize(("text", "seconds"), [("7d", 604_800), ("90", 90), ("2H", 7_200)])
def test_s4_03_e_a_time_is_written_in_short(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds
    with pytest.raises(InvalidError, match="7d, 12h"):
        read_duration(f"-{text}")


async def test_s4_15_a_job_of_somebody_else_is_not_there(here: World) -> None:
    job_id = await here.start("stuck")
    await here.until_due(job_id)

    for line in NEEDS_TOKEN[1:]:
        answer = await here.ask(line.replace(UNKNOWN, job_id), user="bob")
        if UNKNOWN in line:
            assert answer.status == 404, line
            assert answer.json["success"] is False
    assert (await here.ask("GET /jobs", user="bob")).json["jobs"] == []
    assert (await here.ask("GET /jobs/stats", user="bob")).json["stats"]["total"] == 0
    assert (await here.ask("GET /jobs", user="a*")).json["jobs"] == []
    assert (await here.ask(f"GET /jobs/{job_id[:13]}", user="bob")).status == 404
    assert (await here.job(job_id))["status"] == "pending_retry"


async def test_s4_15_b_a_run_of_another_front_door_is_no_job(here: World) -> None:
    definition = {"name": "s", "startAt": "a", "steps": {"a": {"functionName": "logAnalytics"}}}
    assert (await here.server.ask("POST /workflows/definitions", definition)).status == 201
    instance = (await here.server.ask("POST /workflows/s/trigger", {})).json["instanceId"]

    assert (await here.ask(f"GET /jobs/{instance}")).status == 404


async def test_s4_15_c_the_beginning_of_an_id_stands_for_the_only_job_that_has_it(
    here: World,
) -> None:
    first = (await here.ended("job"))["job_id"]

    found = await here.ask(f"GET /workflows/execution/{first[:8]}")
    second = (await here.ended("job"))["job_id"]
    both = await here.ask(f"GET /jobs/{first[:8]}")
    whole = await here.ask(f"GET /jobs/{second[:30]}")
    short = await here.ask(f"GET /jobs/{first[:7]}")

    assert found.json["execution"]["job_id"] == first
    assert (both.status, "2 of your jobs" in both.json["error"]) == (409, True)
    assert whole.json["job"]["job_id"] == second
    assert short.status == 404


@pytest.mark.parametrize(
    ("line", "body", "status", "error"),
    [
        ("POST /workflows/execute", {"workflow_id": "nope"}, 404, "Workflow nope not found"),
        ("POST /workflows/execute", {}, 400, "workflow_id is required"),
        ("POST /workflows/execute", None, 400, "workflow_id is required"),
        ("POST /workflows/execute", [], 400, "the body must be an object"),
        ("POST /workflows/execute", {"workflow_id": ["job"]}, 404, "Workflow ['job'] not found"),
        ("POST /workflows/execute", {"workflow_id": {"a": 1}}, 404, None),
        (
            "POST /workflows/execute",
            {"workflow_id": "job", "options": "{"},
            400,
            None,
        ),
        (
            "POST /workflows/execute",
            {"workflow_id": "job", "options": 3},
            400,
            "options must be an object",
        ),
        (f"POST /workflows/retry/{UNKNOWN}", None, 404, "Workflow execution not found"),
        (f"GET /workflows/execution/{UNKNOWN}", None, 404, "Workflow execution not found"),
        ("GET /workflows/execution/..%2f..%2fetc", None, 404, "Workflow execution not found"),
        (f"GET /jobs/{UNKNOWN}", None, 404, "Job not found"),
        ("GET /jobs/'; DROP TABLE run; --", None, 404, "Job not found"),
        (f"GET /jobs/{UNKNOWN}/stream", None, 404, "Job not found"),
        (f"DELETE /jobs/{UNKNOWN}", None, 404, "Job not found"),
        ("GET /jobs?status=lost", None, 400, None),
        ("GET /jobs?limit=0", None, 400, "limit must be 1 to 500"),
        ("GET /jobs?limit=x", None, 400, None),
        ("PUT /jobs", None, 405, None),
    ],
)
async def test_s4_16_what_cannot_be_meant_is_refused_in_this_dialects_words(
    here: World, line: str, body: Any, status: int, error: str | None
) -> None:
    answer = await here.ask(line, body)

    assert answer.status == status, answer.body
    assert set(answer.json) == {"success", "error"}
    assert answer.json["success"] is False
    assert error is None or answer.json["error"] == error


async def test_s4_16_b_jobs_are_listed_counted_and_cancelled(here: World) -> None:
    done = (await here.ended("job"))["job_id"]
    waiting = await here.start("stuck")
    await here.until_due(waiting)

    ids = [one["job_id"] for one in (await here.ask("GET /jobs")).json["jobs"]]
    assert ids == [waiting, done]
    for query, expected in (
        ("status=completed", [done]),
        ("status=pending_retry", [waiting]),
        ("status=running", []),
        ("workflow_id=stuck", [waiting]),
        ("limit=1", [waiting]),
        ("job_type=image", []),
    ):
        listed = (await here.ask(f"GET /jobs?{query}")).json["jobs"]
        assert [one["job_id"] for one in listed] == expected, query
    under_way = (await here.ask("GET /jobs/in-progress")).json["jobs"]
    assert [one["job_id"] for one in under_way] == [waiting]
    stats = (await here.ask("GET /jobs/stats")).json["stats"]
    assert (stats["total"], stats["completed"], stats["pending_retry"]) == (2, 1, 1)
    cancelled = await here.ask(f"DELETE /jobs/{waiting}")
    again = await here.ask(f"DELETE /jobs/{waiting}")
    assert (cancelled.status, again.status) == (200, 400)
    assert (await here.job(waiting))["status"] == "cancelled"


async def test_s4_16_c_a_cancelled_job_stops_its_step(here: World) -> None:
    body = (
        "    async def step_a(self, given, config):\n        import asyncio\n        note('a')\n"
        "        try:\n            await asyncio.sleep(60)\n"
        "        finally:\n            note('stopped')\n"
    )
    write(here.folder, "long", "a", body=body)
    job_id = await here.start("long")
    await here.until_called("a")

    await here.ask(f"DELETE /jobs/{job_id}")

    await here.until_called("a", "stopped")


FILE = ("a.png", "image/png", PNG)


async def test_s4_19_b_a_files_name_goes_nowhere(here: World) -> None:
    body = "    async def step_a(self, given, config):\n        return dict(given)\n"
    write(here.folder, "tell", "a", body=body)
    sent = form(workflow_id="tell", file=("..\\../../etc/pass\x07wd", "image/png", PNG), note="x")

    answer = await here.ask("POST /workflows/execute", **sent)

    job_id = answer.json["job_id"]
    await here.server.ended(job_id)
    given = (await here.execution(job_id))["checkpoints"]["0"]["output"]
    assert given["filename"] == "passwd"
    assert Path(given["path"]).is_relative_to(here.folder.parent / "media")
    found = here.server.engine.media
    assert found is not None
    assert found.path(given["url"].rpartition("/")[2]) == Path(given["path"])
    assert (given["content_type"], given["size_bytes"]) == ("image/png", len(PNG))
    assert given["note"] == "x"
    assert given["url"].startswith("/files/")


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        (form(workflow_id="job", file=("a.png", "image/png", bytes(100_001))), 400, "larger than"),
        (form(workflow_id="job", file=("a.sh", "text/x-shellscript", b"rm")), 400, "not accepted"),
        (form(workflow_id="job", file=FILE, file2=FILE), 400, "has to be in the field 'file'"),
        (form(workflow_id="job", other="x" * 1_000_001), 400, "'other' is larger"),
        (form(workflow_id="job", options="[1]"), 400, "options must be an object"),
        (form(workflow_id="job", options="{"), 400, "options is no JSON"),
        (form(workflow_id=b"\xff"), 400, "not UTF-8"),
        (form(workflow_id="a\0b"), 400, "NUL"),
        (form(file=FILE), 400, "workflow_id is required"),
        (form(**{f"f{number}": "x" for number in range(101)}), 400, "more than 100 fields"),
        ({"raw": b"", "headers": {"content-type": "multipart/form-data"}}, 400, "no boundary"),
        (
            {"raw": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "ends in its middle",
        ),
        (
            {"raw": b"rubbish", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            "cannot be read",
        ),
        (
            {
                "raw": b"",
                "headers": {"content-type": f"multipart/form-data; boundary={'x' * 999}"},
            },
            400,
            "cannot be read",
        ),
        ({"raw": b"a=b", "headers": {"content-type": "text/html"}}, 415, "send multipart"),
        ({"raw": b"{", "headers": {"content-type": "application/json"}}, 400, None),
        ({"raw": b"[" * 100_000, "headers": {}}, 400, None),
    ],
)
async def test_s4_19_c_hostile_forms_are_refused(
    here: World, sent: dict[str, Any], status: int, error: str | None
) -> None:
    answer = await here.ask("POST /workflows/execute", **sent)

    assert answer.status == status, answer.body
    assert answer.json["success"] is False
    assert error is None or error in answer.json["error"]
    assert (await here.ask("GET /jobs")).json["jobs"] == []


async def test_s4_19_d_a_form_may_come_in_any_pieces(here: World) -> None:
    body = "    async def step_a(self, given, config):\n        return {'n': len(given.read())}\n"
    write(here.folder, "tell", "a", body=body)
    sent = form(file=FILE, workflow_id="tell", options='{"b": [1, 2]}')
    sent["raw"] = [bytes([one]) for one in sent["raw"]]

    answer = await here.ask("POST /workflows/execute", **sent)

    await here.server.ended(answer.json["job_id"])
    shown = (await here.execution(answer.json["job_id"]))["checkpoints"]
    assert shown["0"]["output"] == {"n": len(PNG)}
    assert shown["_input"]["options"] == {"b": [1, 2]}


async def test_s4_19_e_a_workflow_says_which_files_it_takes(here: World) -> None:
    config = {"accepted_types": ["image/png"], "requires_input_image": True}
    write(here.folder, "pictures", "a", body=chain("a"), **config)

    sound = form(workflow_id="pictures", file=("a.wav", "audio/wav", b"RIFF"))
    none = form(workflow_id="pictures")
    picture = form(workflow_id="pictures", file=FILE)

    assert (await here.ask("POST /workflows/execute", **sound)).status == 400
    assert (await here.ask("POST /workflows/execute", **none)).status == 400
    assert (await here.ask("POST /workflows/execute", **picture)).status == 200
