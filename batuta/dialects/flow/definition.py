"""A list of nodes: reading it, and what is wrong with one that cannot be run. Source: S0.2."""

from typing import Any
from urllib.parse import urlsplit

import msgspec

from batuta.model.definition import NAME_CHARACTERS_MAX, RetryLogic
from batuta.model.error import Fault, InvalidError

NODES_MAX = 1_000  # of a flow; each is a task of a run
FAULTS_MAX = 20  # that one answer tells; who has more has one cause
RETRIES_MAX = 100  # of a node
SECONDS_MAX = 7 * 24 * 3_600  # of a node's delay or time limit
RETRY_DELAY_SECONDS = 2  # of a node that wants retries and does not say how long to wait
URL_CHARACTERS_MAX = 2_048
UNTITLED = "Untitled Workflow"
NO_NODES = "Nodes array is required"
MODES = ("parallel", "sequential")
USE_PREVIOUS = "usePreviousResults"  # of a node's execution: empty fields take earlier outputs
BACKOFFS = {
    "fixed": RetryLogic.FIXED,
    "linear": RetryLogic.LINEAR_BACKOFF,
    "exponential": RetryLogic.EXPONENTIAL_BACKOFF,
}


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often a node is tried again after a failure, and after how long."""

    count: int = 0
    delay_seconds: int = RETRY_DELAY_SECONDS
    backoff: RetryLogic = RetryLogic.FIXED


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node; ``None``: what its task definition says."""

    id: str
    type: str
    title: str = ""
    config: dict[str, Any] = {}
    execution: dict[str, Any] = {}
    retry: Retry | None = None
    timeout_seconds: int | None = None


def read_nodes(body: Any) -> list[Node]:
    """Read the nodes of a request's body; what a node has besides is ignored.

    Raises:
        InvalidError: With every fault, each of which names its field.
    """
    listed = body.get("nodes") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not listed:
        raise InvalidError(NO_NODES)
    faults: list[Fault] = []
    if len(listed) > NODES_MAX:
        faults.append(Fault("nodes", f"must have {NODES_MAX} items at most"))
        listed = []
    nodes = [_node(one, f"nodes[{place}]", faults) for place, one in enumerate(listed)]
    taken: dict[str, int] = {}
    for place, node in enumerate(nodes):
        if node.id and node.id in taken:
            message = f"{node.id!r} is taken by nodes[{taken[node.id]}]"
            faults.append(Fault(f"nodes[{place}].id", message))
        taken.setdefault(node.id, place)
    refuse(faults)
    return nodes


def read_name(body: dict[str, Any]) -> str:
    """Read the name that a run is shown with.

    Raises:
        InvalidError: It is no text, or too long.
    """
    faults: list[Fault] = []
    name = _text(body, "workflowName", "", faults, default=UNTITLED)
    refuse(faults)
    return name or UNTITLED


def read_callback(body: dict[str, Any]) -> str:
    """Read where the end of a run is to be told; nothing when it is not.

    Raises:
        InvalidError: It is no http or https URL.
    """
    url = body.get("callbackUrl")
    if url is None or url == "":
        return ""
    try:
        parts = urlsplit(url if isinstance(url, str) else "")
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_url = is_url and (parts.port or 1) > 0
    except ValueError:
        is_url = False
    if not is_url or len(url) > URL_CHARACTERS_MAX:
        refuse([Fault("callbackUrl", "must be an http or https URL, 2048 characters at most")])
    return str(url)


def refuse(faults: list[Fault]) -> None:
    """Raise what is wrong, if anything is."""
    if not faults:
        return
    told = [f"{fault.path} {fault.message}".strip() for fault in faults[:FAULTS_MAX]]
    more = len(faults) - FAULTS_MAX
    raise InvalidError("; ".join(told) + (f"; and {more} more" if more > 0 else ""), faults)


def _node(given: Any, place: str, faults: list[Fault]) -> Node:
    if not isinstance(given, dict):
        faults.append(Fault(place, "must be an object"))
        return Node(id="", type="")
    execution = _object(given, "execution", place, faults)
    if _or(execution.get("mode"), MODES[0]) not in MODES:
        faults.append(Fault(f"{place}.execution.mode", f"must be one of {', '.join(MODES)}"))
    faults.extend(
        Fault(f"{place}.execution.{name}", "must be true or false")
        for name in ("waitForAll", "aggregateItems", USE_PREVIOUS)
        if not isinstance(execution.get(name), bool | None)
    )
    timeout_seconds = None
    if given.get("timeoutSeconds") is not None:
        timeout_seconds = _seconds(given, "timeoutSeconds", place, faults, at_least=1)
    title = given.get("title")
    return Node(
        id=_text(given, "id", f"{place}.", faults),
        type=_text(given, "type", f"{place}.", faults),
        title=title[:NAME_CHARACTERS_MAX] if isinstance(title, str) else "",
        config=_object(given, "config", place, faults),
        execution=execution,
        retry=_retry(given.get("retry"), f"{place}.retry", faults),
        timeout_seconds=timeout_seconds,
    )


def _retry(given: Any, place: str, faults: list[Fault]) -> Retry | None:
    if given is None:
        return None
    if not isinstance(given, dict):
        faults.append(Fault(place, "must be an object"))
        return None
    backoff = _or(given.get("backoff"), "fixed")
    if not isinstance(backoff, str) or backoff.lower() not in BACKOFFS:
        faults.append(Fault(f"{place}.backoff", f"must be one of {', '.join(BACKOFFS)}"))
        backoff = "fixed"
    return Retry(
        count=_whole(_or(given.get("count"), 0), f"{place}.count", faults, 0, RETRIES_MAX),
        delay_seconds=_seconds(given, "delaySeconds", place, faults, otherwise=RETRY_DELAY_SECONDS),
        backoff=BACKOFFS[backoff.lower()],
    )


def _text(
    given: dict[str, Any], name: str, place: str, faults: list[Fault], default: str | None = None
) -> str:
    value = given.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (default is None and not value.strip()):
        is_any = "" if default is not None else " that is not empty"
        faults.append(Fault(f"{place}{name}", f"must be a string{is_any}"))
        return ""
    if len(value) > NAME_CHARACTERS_MAX:
        faults.append(Fault(f"{place}{name}", f"must be {NAME_CHARACTERS_MAX} characters at most"))
    return value


def _object(given: dict[str, Any], name: str, place: str, faults: list[Fault]) -> dict[str, Any]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(Fault(f"{place}.{name}", "must be an object"))
        return {}
    return value


def _seconds(
    given: dict[str, Any],
    name: str,
    place: str,
    faults: list[Fault],
    *,
    at_least: int = 0,
    otherwise: int = 0,
) -> int:
    return _whole(_or(given.get(name), otherwise), f"{place}.{name}", faults, at_least, SECONDS_MAX)


def _or(value: Any, otherwise: Any) -> Any:
    """Return a value, or what stands for one that is null."""
    return otherwise if value is None else value


def _whole(value: Any, place: str, faults: list[Fault], at_least: int, at_most: int) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or not at_least <= value <= at_most:
        faults.append(Fault(place, f"must be a whole number from {at_least} to {at_most}"))
        return at_least
    return int(value)
