"""From a decoded JSON document to a definition, and back.

The reader is driven by the types of the structs themselves, because msgspec's own converter stops
at the first fault and an author wants to see all of them at once. As Jackson does, it reads a
number or a boolean written as text, takes null for "absent" and ignores unknown fields. Outside
strict mode it also accepts what the K1 definitions do (contract S2.2): a response timeout that is
left out shrinks to the timeout, `outputKeys` may be an object, and a SUB_WORKFLOW may name its
child in its input.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from batuta.model.definition import (
    RESPONSE_TIMEOUT_SECONDS,
    SubWorkflowParams,
    TaskDef,
    WorkflowDef,
    WorkflowTask,
)
from batuta.model.error import Fault, InvalidError

# Levels of objects and lists. A task within a task costs three, so this is some 30 of them; the
# functions that walk a definition recurse, and stay far below Python's limit of 1000 frames.
DEPTH_MAX = 100

FAULTS_SAID_MAX = 100  # in a line; the error has more of them
TEXT_SHOWN_MAX = 80  # characters of a faulty value that a message repeats

_Read = TypeVar("_Read", WorkflowDef, TaskDef)
_EXPRESSION = re.compile(r"\$\{.+\}", re.DOTALL)
_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)


def read_workflow_def(document: dict[str, Any], *, strict: bool = False) -> WorkflowDef:
    """Read a workflow definition; its rules are judged by `validate_workflow_def`.

    Args:
        document: Any decoded JSON value; anything but an object is a fault.
        strict: Refuse what only Batuta accepts.

    Raises:
        InvalidError: With one fault for each field whose value has the wrong type.
    """
    return _read_document(WorkflowDef, "workflow definition", document, strict=strict)


def read_task_def(document: dict[str, Any], *, strict: bool = False) -> TaskDef:
    """Read a task definition; its rules are judged by `validate_task_def`.

    Args:
        document: Any decoded JSON value; anything but an object is a fault.
        strict: Refuse what only Batuta accepts.

    Raises:
        InvalidError: With one fault for each field whose value has the wrong type.
    """
    return _read_document(TaskDef, "task definition", document, strict=strict)


def to_document(def_: WorkflowDef | TaskDef) -> dict[str, Any]:
    """Give the JSON document that Conductor answers for a definition.

    Fields that are null are left out, defaults are there, and nulls within maps are kept.

    Source: semantics 0; conductor ObjectMapperProvider.
    """
    document = _document(def_)
    assert isinstance(document, dict), "a struct becomes an object"
    return document


def faults_text(faults: Sequence[Fault]) -> str:
    """Give all faults in one line, each after its path, for the message of an error."""
    said = [f"{f.path}: {f.message}" if f.path else f.message for f in faults[:FAULTS_SAID_MAX]]
    more = len(faults) - len(said)
    return "; ".join([*said, f"and {more} more"] if more else said)


def _document(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = ((outside, getattr(value, name)) for name, outside in _names(type(value)))
        return {name: _document(item) for name, item in fields if item is not None}
    if isinstance(value, dict):
        return {key: _document(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_document(item) for item in value]
    return str(value) if isinstance(value, str) else value


@functools.cache
def _names(cls: type[msgspec.Struct]) -> tuple[tuple[str, str], ...]:
    """Return the fields of a struct with their names outside; it costs far more than reading."""
    return tuple((field.name, field.encode_name) for field in msgspec.structs.fields(cls))


class _Reader(msgspec.Struct, kw_only=True):
    """The mode, and the faults found so far."""

    strict: bool
    faults: list[Fault] = []

    def fault(self, path: str, message: str, value: Any) -> None:
        """Note a fault; the value that the caller goes on with is never used."""
        self.faults.append(Fault(path, message, value))


def _read_document(cls: type[_Read], noun: str, document: object, *, strict: bool) -> _Read:
    reader = _Reader(strict=strict)
    if _is_deeper(document, DEPTH_MAX):
        message = f"the {noun} nests deeper than {DEPTH_MAX} levels; use sub-workflows"
        raise InvalidError(message, [Fault("", message)])
    read = _read_struct(reader, _INFOS[cls], document, "")
    if reader.faults:
        name = document.get("name") if isinstance(document, dict) else None
        which = f"{noun} {name!r}" if isinstance(name, str) else noun
        raise InvalidError(
            f"{which} cannot be read: {faults_text(reader.faults)}",
            reader.faults,
        )
    assert isinstance(read, cls), "a document without faults becomes the struct"
    return read


def _is_deeper(value: object, levels: int) -> bool:
    """Measure level by level, so that a deep document costs no stack."""
    level = _structures([value])
    for _ in range(levels):
        if not level:
            return False
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = _structures(itertools.chain.from_iterable(inner))
    return bool(level)


def _structures(values: Iterable[Any]) -> list[dict[str, Any] | list[Any]]:
    return [value for value in values if isinstance(value, dict | list)]


def _read(reader: _Reader, info: inspect.Type, value: Any, path: str) -> Any:
    """Read one value by its declared type; a wrong one is noted and read as None."""
    return _READERS[type(info)](reader, info, value, path)


def _read_any(_reader: _Reader, _info: inspect.AnyType, value: Any, _path: str) -> Any:
    return value


def _read_union(reader: _Reader, info: inspect.UnionType, value: Any, path: str) -> Any:
    return _read(reader, _alternative(info, value), value, path)


def _alternative(union: inspect.UnionType, value: Any) -> inspect.Type:
    """Choose the member that fits the value best; the first one words the fault."""
    members = [member for member in union.types if not isinstance(member, inspect.NoneType)]
    for member in members:
        match member:
            case inspect.DictType() | inspect.StructType() if isinstance(value, dict):
                return member
            case inspect.ListType() if isinstance(value, list):
                return member
            case inspect.StrType() if isinstance(value, str) and not _INTEGER.fullmatch(value):
                return member
    # The order within a union is msgspec's; text must not win over a structure or a number.
    return min(members, key=lambda member: isinstance(member, inspect.StrType))


def _read_struct(reader: _Reader, info: inspect.StructType, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        reader.fault(path, f"expected an object, got {_shown(value)}", value)
        return None
    known = len(reader.faults)
    fields = {
        field.name: _read(reader, field.type, given, _under(path, field.encode_name))
        for field in info.fields
        if (given := value.get(field.encode_name)) is not None
    }
    read = info.cls(**fields)
    if len(reader.faults) > known:
        return None
    match read:
        case TaskDef():
            return _finish_task_def(reader, read, value, path)
        case WorkflowTask():
            return read if reader.strict else _finish_task(reader, read, path)
        case SubWorkflowParams():
            return _finish_params(reader, read, path)
        case _:
            return read


def _finish_task_def(
    reader: _Reader, read: TaskDef, given: dict[str, Any], path: str
) -> TaskDef | None:
    if reader.strict:
        if isinstance(read.output_keys, dict):
            where = _under(path, "outputKeys")
            reader.fault(where, "expected a list of texts, got an object", read.output_keys)
        return read
    if given.get("responseTimeoutSeconds") is None and read.timeout_seconds > 0:
        response_seconds = min(RESPONSE_TIMEOUT_SECONDS, read.timeout_seconds)
        return msgspec.structs.replace(read, response_timeout_seconds=response_seconds)
    return read


def _finish_task(reader: _Reader, read: WorkflowTask, path: str) -> WorkflowTask:
    """Take the child of a SUB_WORKFLOW from the task's input when it is named only there."""
    if read.type != "SUB_WORKFLOW" or read.sub_workflow_param is not None:
        return read
    given = dict(read.input_parameters)
    keys = ("subWorkflowName", "subWorkflowVersion")
    name_key, version_key = keys if keys[0] in given else ("name", "version")
    if given.get(name_key) is None:
        return read
    where = _under(path, "inputParameters")
    name, version = given.pop(name_key), given.pop(version_key, None)
    types = {field.name: field.type for field in _INFOS[SubWorkflowParams].fields}
    params = SubWorkflowParams(
        name=_read(reader, types["name"], name, _under(where, name_key)),
        version=None
        if version is None
        else _read(reader, types["version"], version, _under(where, version_key)),
    )
    _check_expression(reader, "a whole number", params.version, _under(where, version_key))
    input_key = "workflowInput" if "workflowInput" in given else "input"
    inner = given.get(input_key)
    return msgspec.structs.replace(
        read,
        sub_workflow_param=params,
        input_parameters=inner if isinstance(inner, dict) else given,
    )


def _finish_params(reader: _Reader, read: SubWorkflowParams, path: str) -> SubWorkflowParams:
    inline_path = _under(path, "workflowDefinition")
    _check_expression(reader, "a whole number", read.version, _under(path, "version"))
    _check_expression(reader, "an object", read.workflow_definition, inline_path)
    if isinstance(read.workflow_definition, WorkflowDef) and read.workflow_definition.name:
        return msgspec.structs.replace(read, name=read.workflow_definition.name)
    return read


def _check_expression(reader: _Reader, what: str, value: object, path: str) -> None:
    """Accept a text in place of something else only when it is one whole expression."""
    if isinstance(value, str) and not _EXPRESSION.fullmatch(value):
        reader.fault(
            path, f"expected {what} or one ${{...}} expression, got {_shown(value)}", value
        )


def _read_list(reader: _Reader, info: inspect.ListType, value: Any, path: str) -> Any:
    if not isinstance(value, list):
        reader.fault(path, f"expected a list, got {_shown(value)}", value)
        return None
    return [
        _read(reader, info.item_type, item, f"{path}[{index}]") for index, item in enumerate(value)
    ]


def _read_dict(reader: _Reader, info: inspect.DictType, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        reader.fault(path, f"expected an object, got {_shown(value)}", value)
        return None
    return {
        key: _read(reader, info.value_type, item, _under(path, key)) for key, item in value.items()
    }


def _read_enum(reader: _Reader, info: inspect.EnumType, value: Any, path: str) -> Any:
    names = [member.value for member in info.cls]
    if isinstance(value, str) and value in names:
        return info.cls(value)
    reader.fault(path, f"expected one of {', '.join(names)}, got {_shown(value)}", value)
    return None


def _read_int(reader: _Reader, info: inspect.IntType, value: Any, path: str) -> int | None:
    number: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif (isinstance(value, float) and value.is_integer()) or (
        isinstance(value, str) and _INTEGER.fullmatch(value.strip())
    ):
        number = int(value)
    if number is None:
        reader.fault(path, f"expected an integer, got {_shown(value)}", value)
        return None
    assert info.ge is not None, "every integer of a definition has bounds"
    assert info.le is not None, "every integer of a definition has bounds"
    if not info.ge <= number <= info.le:
        message = f"expected an integer from {info.ge} to {info.le}, got {_shown(value)}"
        reader.fault(path, message, value)
        return None
    return number


def _read_bool(reader: _Reader, _info: inspect.BoolType, value: Any, path: str) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    reader.fault(path, f"expected true or false, got {_shown(value)}", value)
    return None


def _read_str(reader: _Reader, _info: inspect.StrType, value: Any, path: str) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    reader.fault(path, f"expected text, got {_shown(value)}", value)
    return None


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "an object"
        case list():
            return "a list"
        case _:
            text = repr(value)
            return text if len(text) <= TEXT_SHOWN_MAX else text[:TEXT_SHOWN_MAX] + "..."


def _under(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _struct_info(cls: type[msgspec.Struct]) -> inspect.StructType:
    info = inspect.type_info(cls)
    assert isinstance(info, inspect.StructType), "definitions are structs"
    return info


_READERS: dict[type[inspect.Type], Callable[[_Reader, Any, Any, str], Any]] = {
    inspect.AnyType: _read_any,
    inspect.UnionType: _read_union,
    inspect.StructType: _read_struct,
    inspect.ListType: _read_list,
    inspect.DictType: _read_dict,
    inspect.EnumType: _read_enum,
    inspect.IntType: _read_int,
    inspect.BoolType: _read_bool,
    inspect.StrType: _read_str,
}
_INFOS = {cls: _struct_info(cls) for cls in (WorkflowDef, TaskDef, SubWorkflowParams)}
