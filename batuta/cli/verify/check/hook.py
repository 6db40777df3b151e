"""GitHub's webhook."""

import hashlib
import hmac
import json
import secrets

from batuta.cli.verify.plant.bench import Bench, Json
from batuta.cli.verify.plant.scene import expect, once
from batuta.cli.verify.plant.wire import fetch

PATH = "/webhook/github/push"


def served(bench: Bench, _: str) -> str:
    """A ping is answered."""
    status, content = _send(bench, {"zen": "Keep it logically awesome."}, event="ping")
    expect(status == 200, f"a ping is answered {status} {content!r}")
    return "a ping is answered"


def port(bench: Bench, _: str) -> str:
    """It listens at a port that has nothing else but the API."""
    status, content = _send(bench, {"zen": "."}, event="ping", port=bench.door)
    expect(status == 200, f"a ping is answered {status} {content!r}")
    return f"port {bench.door} (--listen {bench.door}=firmware)"


def signature(bench: Bench, _: str) -> str:
    """Only what the secret has signed is taken."""
    body = _push("refs/heads/another", "737e3d8")
    good = _sign(bench.secret, body)
    bad = ["", "sha256=", good[:-1], _sign("another", body), good.replace("sha256", "sha1")]
    for value in bad:
        status, content = _post(bench, body, {"X-Hub-Signature-256": value})
        expect((status, content) == (401, b"Invalid signature"), f"{value!r} gives {status}")
    status, _content = _post(bench, body, {"X-Hub-Signature-256": good})
    expect(status == 200, f"a right one gives {status}")
    return f"{len(bad)} bad ones are refused, a good one is not"


def push(bench: Bench, _: str) -> str:
    """A push to main starts a run, one to another branch does not."""
    status, content = _send(bench, json.loads(_push("refs/heads/another", bench.commit())))
    expect((status, content) == (200, b"OK"), f"another branch gives {status} {content!r}")
    run_id = _delivered(bench)["id"]
    return f"run {run_id}"


def fires(bench: Bench, _: str) -> str:
    """The same delivery again is the same run."""
    found = _delivered(bench)
    expect(found["again"] == found["id"], "the same delivery has started another run")
    return "delivered twice, started once"


def run(bench: Bench, _: str) -> str:
    """The run is that of the pipeline, with what was pushed."""
    found = _delivered(bench)
    given = found["run"]["input"]
    expect(given["commit_sha"] == found["sha"], f"its input is {given}")
    return f"{found['run']['workflowName']} of {given['commit_sha'][:12]}"


def delivered(bench: Bench, _: str) -> str:
    """The device ran it."""
    found = _delivered(bench)
    expect(found["run"]["status"] == "COMPLETED", f"the run is {found['run']['status']}")
    expect(found["sha"] in found["signature"], f"the device runs {found['signature']}")
    return f"the device runs {found['signature']}"


@once
def _delivered(bench: Bench) -> Json:
    sha, delivery = bench.commit(), secrets.token_hex(16)
    document = json.loads(_push("refs/heads/main", sha))
    ids = []
    for _ in range(2):
        status, content = _send(bench, document, delivery=delivery)
        expect(status == 200, f"a push is answered {status} {content!r}")
        ids.append(json.loads(content)["workflowId"])
    ended = bench.server.end(ids[0])
    bench.runs.append(ended)
    info = bench.ask_device("/api/device/info")
    found = {"id": ids[0], "again": ids[1], "sha": sha, "run": ended}
    return {**found, "signature": info["build_signature"]}


def _push(ref: str, sha: str) -> bytes:
    document = {
        "ref": ref,
        "after": sha,
        "repository": {"name": "K1.node1"},
        "head_commit": {"message": "größer, 緑"},
    }
    return json.dumps(document, ensure_ascii=False).encode()


def _sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def _send(
    bench: Bench, document: Json, *, event: str = "push", delivery: str = "", port: int = 0
) -> tuple[int, bytes]:
    body = json.dumps(document, ensure_ascii=False).encode()
    headers = {
        "X-Hub-Signature-256": _sign(bench.secret, body),
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or secrets.token_hex(16),
    }
    return _post(bench, body, headers, port=port)


def _post(
    bench: Bench, body: bytes, headers: dict[str, str], *, port: int = 0
) -> tuple[int, bytes]:
    base = f"http://127.0.0.1:{port}" if port else bench.server.url
    return fetch(base + PATH, body, headers)
