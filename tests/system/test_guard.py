"""The rule is held at the address that is connected: names, odd spellings, redirects, rebinding."""

import socket
from collections.abc import Iterable

import pytest
from yarl import URL

from batuta.workers.system.answer import Answer
from batuta.workers.system.connection import CallError, Found, Lookup, _redirect, call, look_up
from batuta.workers.system.request import HttpRequest, read_request
from batuta.workers.system.target import Targets, targets_of
from tests.system.conftest import housed
from tests.system.server import Target

LOCAL = targets_of((), is_shared=False)
SHARED = targets_of((), is_shared=True)
HERE = (socket.AF_INET, "127.0.0.1")
PUBLIC = (socket.AF_INET, "93.184.216.34")
METADATA = (socket.AF_INET, "169.254.169.254")


def asking(uri: str, **fields: object) -> HttpRequest:
    """Return a request that does not wait long for what will not come."""
    return read_request({"uri": uri, "method": "GET", "connectionTimeOut": 2_000, **fields})


class Names:
    """A resolver that gives its answers in turn, the last one again and again."""

    def __init__(self, *answers: Iterable[Found]) -> None:
        self._answers = [list(answer) for answer in answers]
        self.asked: list[str] = []

    async def __call__(self, name: str, port: int) -> list[Found]:
        assert port > 0
        self.asked.append(name)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def denial_of(request: HttpRequest, targets: Targets, lookup: Lookup | None = None) -> str:
    with pytest.raises(CallError, match="not allowed") as caught:
        await call(request, targets, lookup or Names([HERE]))
    return str(caught.value)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "localhost"]
)
async def test_a_shared_server_does_not_call_this_machine(target: Target, host: str) -> None:
    uri = f"http://{host}:{target.port}/json"

    assert "public address" in await denial_of(asking(uri), SHARED)
    assert target.seen == []


@pytest.mark.parametrize("host", ["0x7f.1", "2130706433", "127.1", "0177.0.0.1", "0x7f000001"])
async def test_odd_spellings_of_an_address_lead_nowhere(target: Target, host: str) -> None:
    uri = f"http://{host}:{target.port}/json"

    with pytest.raises(CallError):
        await call(asking(uri), SHARED, look_up)  # the operating system reads some of them

    assert target.seen == []


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "[fd00:ec2::254]", "[::ffff:169.254.169.254]", "metadata.google.internal"],
)
@pytest.mark.parametrize("targets", [LOCAL, SHARED])
async def test_no_server_calls_the_metadata_service(host: str, targets: Targets) -> None:
    assert "metadata" in await denial_of(asking(f"http://{host}/latest"), targets, Names([HERE]))


async def test_a_name_is_allowed_only_if_all_its_addresses_are(target: Target) -> None:
    for answer in ([PUBLIC, HERE], [HERE, PUBLIC]):
        names = Names(answer)
        request = asking(f"http://two.example:{target.port}/json")

        assert "127.0.0.1" in await denial_of(request, SHARED, names)

    assert target.seen == []


async def test_a_name_is_resolved_once_and_that_address_is_connected(target: Target) -> None:
    names = Names([HERE], [METADATA])

    answer = await call(asking(f"http://flips.example:{target.port}/json"), LOCAL, names)

    assert answer.status == 200
    assert names.asked == ["flips.example"]


async def test_a_name_that_flips_is_checked_again_for_the_next_connection(target: Target) -> None:
    names = Names([HERE], [METADATA])
    uri = f"http://flips.example:{target.port}/302?to=/json"

    assert "metadata" in await denial_of(asking(uri), LOCAL, names)
    assert names.asked == ["flips.example", "flips.example"]
    assert target.paths == ["/302"]


@pytest.mark.parametrize(
    "location",
    ["http://169.254.169.254/latest/meta-data", "//169.254.169.254/", "http://[fd00:ec2::254]/"],
)
async def test_a_redirect_to_the_metadata_service_is_not_followed(
    target: Target, location: str
) -> None:
    await denial_of(asking(f"{target.url}/302?to={location}"), LOCAL)

    assert target.paths == ["/302"]


async def test_an_allowed_name_may_not_redirect_inside(target: Target) -> None:
    targets = targets_of(("api.example",), is_shared=True)
    uri = f"http://api.example:{target.port}/302?to={target.url}/json"

    assert "public address" in await denial_of(asking(uri), targets, Names([HERE]))
    assert target.paths == ["/302"]


@pytest.mark.parametrize("location", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://[::1"])
async def test_a_redirect_elsewhere_than_to_http_is_not_followed(
    target: Target, location: str
) -> None:
    with pytest.raises(CallError, match="redirects to"):
        await call(asking(f"{target.url}/302?to={location}"), LOCAL)


async def test_redirects_are_followed_up_to_a_limit(target: Target) -> None:
    within = await call(asking(f"{target.url}/302?to=/307%3Fto%3D/json"), LOCAL)

    assert within.status == 200
    assert target.paths == ["/302", "/307", "/json"]
    with pytest.raises(CallError, match="more than 5 redirects"):
        await call(asking(f"{target.url}/loop"), LOCAL)
    assert target.paths[3:] == ["/loop"] * 6


@pytest.mark.parametrize(
    ("status", "method", "then", "body"),
    [
        (301, "POST", "GET", ""),
        (302, "POST", "GET", ""),
        (303, "PUT", "GET", ""),
        (307, "POST", "POST", '{"a":1}'),
        (308, "PUT", "PUT", '{"a":1}'),
        (302, "PUT", "PUT", '{"a":1}'),
    ],
)
async def test_a_redirect_keeps_method_and_body_as_http_says(
    target: Target, status: int, method: str, then: str, body: str
) -> None:
    uri = f"{target.url}/{status}?to=/echo"

    await call(asking(uri, method=method, body={"a": 1}), LOCAL)

    second = target.seen[1]
    assert (second["method"], second["body"]) == (then, body)
    assert ("content-type" in second["headers"]) == bool(body)


async def test_a_redirect_takes_no_secrets_to_another_origin(target: Target) -> None:
    headers = {"Authorization": "Bearer x", "Cookie": "a=b", "X-Api-Key": "k", "Accept": "a/b"}
    there = f"http://other.example:{target.port}/echo"

    await call(asking(f"{target.url}/307?to=/echo", headers=headers), LOCAL)
    await call(asking(f"{target.url}/307?to={there}", headers=headers), LOCAL, Names([HERE]))

    same, other = target.seen[1]["headers"], target.seen[3]["headers"]
    assert (same["authorization"], same["x-api-key"]) == (["Bearer x"], ["k"])
    assert other["accept"] == ["a/b"]
    assert not {"authorization", "cookie", "x-api-key"} & other.keys()


def test_a_redirect_does_not_leave_encryption() -> None:
    answer = Answer(status=302, headers=((b"location", b"http://h.example/"),))

    with pytest.raises(CallError, match="plain http"):
        _redirect(asking("https://h.example/"), URL("https://h.example/"), answer)


async def test_a_proxy_of_the_environment_does_not_connect_in_our_place(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", target.url)
    monkeypatch.setenv("HTTP_PROXY", target.url)

    assert "metadata" in await denial_of(asking("http://169.254.169.254/json"), LOCAL)
    assert target.seen == []


async def test_what_is_denied_fails_the_task_and_says_how_to_allow_it(target: Target) -> None:
    async with housed(SHARED) as house:
        run = await house.call(uri=f"{target.url}/json", method="GET")

    reason = run.tasks[0].task.reason or ""
    assert "127.0.0.1 is no public address" in reason
    assert "BATUTA_HTTP_ALLOWED_TARGETS" in reason
    assert target.seen == []


async def test_what_the_operator_allows_is_called(target: Target) -> None:
    async with housed(targets_of(("127.0.0.1",), is_shared=True)) as house:
        run = await house.call(uri=f"{target.url}/json", method="GET")

    assert run.workflow.status.value == "COMPLETED"
