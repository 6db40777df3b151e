"""The door: a body is decoded here once, whole, and its parts are carried as bytes from then on.

What is refused here would fail later, in a template, a script, a store or an answer: text that
is not UTF-8 or holds NUL or half of a surrogate pair, numbers that no double holds, documents
too deep or too large, and a key given twice (which of the two counts differs from parser to
parser). A refusal is an InvalidError (400) that names the field. null means absent, unknown
fields are ignored, and a scalar is taken for text, as Jackson does.

The common case costs one decode and one encode in C: a document that comes back with as many
colons as it had has lost no duplicate key. Only a suspect body is walked in Python.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from batuta.api.request import Text
from batuta.api.wire import to_ms
from batuta.core.definition.normalize import faults_text, read_workflow_def
from batuta.model.command import UpdateTask
from batuta.model.definition import NAME_CHARACTERS_MAX, WorkflowDef
from batuta.model.error import Fault, InvalidError
from batuta.model.execution import TaskStatus
from batuta.model.payload import EMPTY, Payload
from batuta.runtime.view import StartRequest

DEPTH_MAX = 100  # levels of objects and lists; what walks a payload may recurse
CALLBACK_SECONDS_MAX = 2**31 - 1  # 68 years; beyond it milliseconds would not fit a row
PRIORITY_MAX = 99  # Conductor's range is 0 to 99
VERSION_MAX = 2**31 - 1  # Conductor's int
DIGITS_MAX = 4_300  # of an integer: Python's own limit, beyond which parsing is quadratic
BLANK_BYTES_MAX = 64  # an object this short is looked at to see whether it is `{ }`

# What a worker may report. Source: conductor TaskResult.Status.
REPORTED = {
    word.value: word
    for word in (
        TaskStatus.IN_PROGRESS,
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.FAILED_WITH_TERMINAL_ERROR,
        TaskStatus.CANCELED,
    )
}
_Body = TypeVar("_Body")
_NULL = b"null"


class LogBody(msgspec.Struct, frozen=True):
    """A line in a task report; its taskId and createdTime are ours to say."""

    log: Text = None


class TaskResultBody(msgspec.Struct, frozen=True, rename="camel"):
    """What a worker reports. Source: semantics a.7; conductor TaskResult."""

    workflow_instance_id: str | None = None
    task_id: str | None = None
    status: str | None = None
    output_data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    reason_for_incompletion: Text = None
    callback_after_seconds: int | None = None
    worker_id: Text = None
    logs: list[LogBody | None] | None = None
    extend_lease: bool | None = None
    external_output_payload_storage_path: str | None = None


class StartBody(msgspec.Struct, frozen=True, rename="camel"):
    """A wish to start a workflow. Source: semantics a.7; conductor StartWorkflowRequest."""

    name: str | None = None
    version: int | None = None
    correlation_id: Text = None
    input: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    task_to_domain: dict[str, str | None] | None = None
    workflow_def: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    priority: int | None = None
    external_input_payload_storage_path: str | None = None


task_result_decoder = msgspec.json.Decoder(TaskResultBody, strict=False)
start_decoder = msgspec.json.Decoder(StartBody, strict=False)


def decode_whole(body: bytes) -> Any:
    """Decode a JSON body and check all of it; what passes can be carried as bytes.

    Raises:
        InvalidError: Naming the field, or the byte where the document breaks off.
    """
    try:
        value = msgspec.json.decode(body)
        colons = msgspec.json.encode(value).count(b":")
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise _unreadable(body, error) from error
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX and _is_deep(value):
        raise _too_deep()
    are_colons_hidden = False
    if b"\\u" in body:
        _check_escapes(body, value)
        are_colons_hidden = b"\\u003a" in body or b"\\u003A" in body
    if are_colons_hidden or body.count(b":") != colons:
        _check_keys(body)
    return value


def decode_body(decoder: msgspec.json.Decoder[_Body], body: bytes) -> _Body:
    """Check a body and decode its header; parts declared as ``Raw`` stay bytes.

    Raises:
        InvalidError: As ``decode_whole``, or a field has the wrong type.
    """
    decode_whole(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".")
        text = text[0].lower() + text[1:].replace("`", "")
        raise refuse(field or "body", text.replace("`", "")) from error


def payload_of(raw: msgspec.Raw | msgspec.UnsetType, field: str) -> Payload:
    """Carry the bytes of an object; absent and null are the empty object.

    Raises:
        InvalidError: It is not an object.
    """
    part = _NULL if isinstance(raw, msgspec.UnsetType) else bytes(raw)
    if part == _NULL:
        return EMPTY
    if part[0] != 0x7B:  # "{"
        raise refuse(field, "expected an object")
    if len(part) <= BLANK_BYTES_MAX and not part[1:-1].strip():
        return EMPTY
    return Payload(part)


def object_payload(body: bytes) -> Payload:
    """Carry a whole body that is an object; an empty body is the empty object.

    Raises:
        InvalidError: As ``decode_whole``, or it is not an object.
    """
    body = body.strip()
    if not body:
        return EMPTY
    decode_whole(body)
    return payload_of(msgspec.Raw(body), "body")


def to_text(value: Text) -> str | None:
    """Take a scalar for text, in JSON's spelling; None stays None."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def to_word(value: Text, field: str) -> str | None:
    """Take a scalar for an id, a name or another text that is looked up by an index.

    Raises:
        InvalidError: It is too long.
    """
    text = to_text(value)
    if text is not None and len(text) > NAME_CHARACTERS_MAX:
        raise refuse(field, f"longer than {NAME_CHARACTERS_MAX} characters", text)
    return text


def refuse(field: str, message: str, value: Any = None) -> InvalidError:
    """Return the error for one wrong field: its path, and what would be right."""
    return InvalidError(f"{field}: {message}", [Fault(field, message, value)])


def to_update(body: TaskResultBody, uploaded: Payload | None = None) -> UpdateTask:
    """Read a worker's report; its output replaces the earlier one (gotchas.md 23).

    Args:
        uploaded: What the body's external path stands for; it counts, as in Conductor.

    Raises:
        InvalidError: A field that is missing or out of range, by its name.
    """
    if not body.workflow_instance_id:
        raise refuse("workflowInstanceId", "Workflow Id cannot be null or empty")
    if not body.task_id:
        raise refuse("taskId", "Task ID cannot be null or empty")
    if body.external_output_payload_storage_path and uploaded is None:
        raise refuse("externalOutputPayloadStoragePath", "not possible here; send outputData")
    seconds = body.callback_after_seconds or 0
    if seconds > CALLBACK_SECONDS_MAX:
        raise refuse("callbackAfterSeconds", f"at most {CALLBACK_SECONDS_MAX} are allowed", seconds)
    return UpdateTask(
        workflow_id=body.workflow_instance_id,
        task_id=body.task_id,
        status=to_status(body.status),
        output=uploaded or payload_of(body.output_data, "outputData"),
        reason=to_text(body.reason_for_incompletion),
        callback_after_ms=to_ms(seconds),
        worker_id=to_word(body.worker_id, "workerId"),
        logs=_lines(body) if body.logs else (),
    )


def to_status(word: str | None) -> TaskStatus:
    """Read a status that a worker may report; case counts, as in Conductor.

    Raises:
        InvalidError: It is no such word.
    """
    status = REPORTED.get(word or "")
    if status is None:
        allowed = ", ".join(REPORTED)
        shown = "nothing" if word is None else repr(word[:40])
        raise refuse("status", f"expected one of {allowed}, got {shown}", word)
    return status


def to_start(body: StartBody, *, strict: bool, uploaded: Payload | None = None) -> StartRequest:
    """Read a wish to start a workflow by name, or of an inline definition.

    Args:
        uploaded: What the body's external path stands for; it counts, as in Conductor.

    Raises:
        InvalidError: A field that is missing or out of range, by its name.
    """
    if body.external_input_payload_storage_path and uploaded is None:
        raise refuse("externalInputPayloadStoragePath", "not possible here; send input")
    definition = _inline_definition(body, strict=strict)
    name = to_word(body.name, "name") or (definition.name if definition else "")
    if not name:
        raise refuse("name", "Workflow name cannot be null or empty")
    version = body.version or 0
    if not -VERSION_MAX <= version <= VERSION_MAX:
        raise refuse("version", f"expected a version up to {VERSION_MAX}", version)
    return StartRequest(
        name=name,
        version=version,
        input=uploaded or payload_of(body.input, "input"),
        correlation_id=to_word(body.correlation_id, "correlationId"),
        priority=check_priority(body.priority or 0),
        task_to_domain=_domains(body),
        definition=definition,
    )


def _domains(body: StartBody) -> dict[str, str]:
    """Read where tasks go: by task type, domains to try in order, joined by commas."""
    given = {key: value for key, value in (body.task_to_domain or {}).items() if value is not None}
    for key, value in given.items():
        for word in (key, *value.split(",")):
            to_word(word, "taskToDomain")
    return given


def inline_document(body: StartBody) -> Any:
    """Return the definition that came with a start, decoded; None without one."""
    raw = body.workflow_def
    return None if isinstance(raw, msgspec.UnsetType) else msgspec.json.decode(raw)


def inline_faults(faults: Sequence[Fault]) -> InvalidError:
    """Return the error for the faults of an inline definition: their paths in the body."""
    named = [
        Fault(f"workflowDef.{one.path}" if one.path else "workflowDef", one.message, one.value)
        for one in faults
    ]
    return InvalidError(f"workflowDef is invalid: {faults_text(named)}", named)


def _inline_definition(body: StartBody, *, strict: bool) -> WorkflowDef | None:
    document = inline_document(body)
    if document is None:
        return None
    try:
        return read_workflow_def(document, strict=strict)
    except InvalidError as error:
        raise inline_faults(error.faults) from error


def check_priority(priority: int) -> int:
    """Return a workflow's priority if it is in Conductor's range.

    Raises:
        InvalidError: It is not.
    """
    if not 0 <= priority <= PRIORITY_MAX:
        raise refuse("priority", f"expected 0 to {PRIORITY_MAX}, got {priority}", priority)
    return priority


def _lines(body: TaskResultBody) -> tuple[str, ...]:
    texts = (to_text(line.log) for line in body.logs or () if line is not None)
    return tuple(text for text in texts if text is not None)


def _too_deep() -> InvalidError:
    return refuse("body", f"nests deeper than {DEPTH_MAX} levels; flatten it")


def _is_deep(value: Any) -> bool:
    """Measure level by level, so that a deep document costs no stack."""
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [
            inner
            for item in level
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _unreadable(body: bytes, error: Exception) -> InvalidError:
    """Word why a body cannot be decoded; name the field of a number out of range."""
    if not body.strip():
        return refuse("body", "is empty; send a JSON document")
    if isinstance(error, UnicodeDecodeError):
        return refuse("body", "is not UTF-8; encode it as UTF-8")
    if "out of range" in str(error):
        path = _path_of_number(body)
        return refuse(path, "the number is out of range; send it as text")
    if b"\\u" in body and ("truncated" in str(error) or "surrogate" in str(error)):
        return refuse("body", f"is no JSON, or has half of a surrogate pair: {error}")
    return refuse("body", f"is no JSON: {error}")


def _path_of_number(body: bytes) -> str:
    marker = object()
    finite = (float("-inf"), float("inf"))

    def number(text: str) -> object:
        return marker if float(text) in finite else text

    def integer(text: str) -> object:
        return marker if len(text) > DIGITS_MAX else text

    try:
        value = json.loads(body, parse_float=number, parse_int=integer)
    except (ValueError, RecursionError):
        return "body"
    return _find(value, lambda item: item is marker) or "body"


def _check_escapes(body: bytes, value: Any) -> None:
    """Refuse NUL, which no database's text can hold."""
    if b"\\u0000" not in body:
        return
    path = _find(value, lambda item: isinstance(item, str) and "\0" in item)
    if path is not None:
        raise refuse(path, "holds a NUL character (\\u0000); remove it")


def _check_keys(body: bytes) -> None:
    """Refuse a key that an object gives twice, and name it."""

    def pairs(items: list[tuple[str, Any]]) -> None:
        seen: set[str] = set()
        for key, _ in items:
            if key in seen:
                raise refuse(key, f"the key {key!r} is given twice in one object")
            seen.add(key)

    json.loads(body, object_pairs_hook=pairs, parse_int=str, parse_float=str)


def _find(value: Any, wanted: Callable[[Any], bool]) -> str | None:
    """Return the path of the first value or key that is wanted, without recursion."""
    open_paths: list[tuple[str, Any]] = [("", value)]
    while open_paths:
        path, item = open_paths.pop()
        if wanted(item):
            return path or "body"
        open_paths.extend(_inside(path, item, wanted))
    return None


def _inside(path: str, item: Any, wanted: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    if isinstance(item, list):
        yield from ((f"{path}[{index}]", inner) for index, inner in enumerate(item))
    elif isinstance(item, dict):
        for key, inner in item.items():
            where = f"{path}.{key}" if path else key
            yield where, key if wanted(key) else inner
