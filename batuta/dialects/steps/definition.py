"""A definition of steps: reading it, and every reason why it cannot be run."""

import re
from typing import Any

import msgspec

from batuta.model.error import Fault, InvalidError

STEPS_MAX = 1_000  # of a definition; each is a task of a run
TEXT_CHARACTERS_MAX = 1_000  # of a name or a path
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FIELDS = ("name", "description", "startAt", "steps")
_STEP_FIELDS = (
    *("id", "name", "type", "functionName"),
    *("inputPath", "resultPath", "nextStepId", "description"),
)


class Step(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """One function call: where its input comes from, where its result goes, what is next."""

    id: str
    name: str
    type: str = "function"
    function_name: str
    input_path: str | None = None
    result_path: str | None = None
    next_step_id: str | None = None


class Definition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A named list of steps."""

    id: str
    name: str
    description: str | None = None
    start_at: str
    steps: dict[str, Step]

    def path(self) -> tuple[list[Step], int | None]:
        """Return the steps from the first on, and where the last leads back to (None: it ends)."""
        order: list[str] = []
        step_id: str | None = self.start_at
        while step_id is not None and step_id not in order:
            order.append(step_id)
            step_id = self.steps[step_id].next_step_id
        back = None if step_id is None else order.index(step_id)
        return [self.steps[one] for one in order], back


def read_definition(body: Any, definition_id: str) -> Definition:
    """Read a request's body.

    Raises:
        InvalidError: With every fault, each a sentence that begins with the field.
    """
    if not isinstance(body, dict):
        raise InvalidError("the definition must be an object", [Fault("", "must be an object")])
    faults = [Fault(name, "should not exist") for name in body if name not in _FIELDS]
    name = _text(body, "name", faults)
    if UUID.fullmatch(name):
        faults.append(Fault("name", "looks like an id; choose another one"))
    start_at = _text(body, "startAt", faults)
    description = body.get("description")
    if not isinstance(description, str | None):
        faults.append(Fault("description", "must be a string"))
    steps = _steps(body.get("steps"), faults)
    if not faults:
        faults = _dangling(start_at, steps)
    if faults:
        told = "; ".join(f"{fault.path} {fault.message}" for fault in faults)
        raise InvalidError(told, faults)
    return Definition(
        id=definition_id, name=name, description=description, start_at=start_at, steps=steps
    )


def _steps(given: Any, faults: list[Fault]) -> dict[str, Step]:
    if not isinstance(given, dict) or not given:
        faults.append(Fault("steps", "must be an object with at least one step"))
        return {}
    if len(given) > STEPS_MAX:
        faults.append(Fault("steps", f"must be {STEPS_MAX} at most"))
        return {}
    return {step_id: _step(step_id, found, faults) for step_id, found in given.items()}


def _step(step_id: str, given: Any, faults: list[Fault]) -> Step:
    """Read a step; its key is what it is called by, whatever its `id` says (S3.2)."""
    place = f"steps.{step_id}"
    if not isinstance(given, dict):
        faults.append(Fault(place, "must be an object"))
        return Step(id=step_id, name=step_id, function_name="")
    faults.extend(
        Fault(f"{place}.{name}", "should not exist") for name in given if name not in _STEP_FIELDS
    )
    if given.get("type", "function") != "function":
        faults.append(Fault(f"{place}.type", "must be 'function'"))
    texts = {}
    for name in ("inputPath", "resultPath", "nextStepId"):
        value = given.get(name)
        if not isinstance(value, str | None) or len(value or "") > TEXT_CHARACTERS_MAX:
            faults.append(Fault(f"{place}.{name}", "must be a string or null"))
            value = None
        texts[name] = value
    name = given.get("name", step_id)
    if not isinstance(name, str):
        faults.append(Fault(f"{place}.name", "must be a string"))
        name = step_id
    return Step(
        id=step_id,
        name=name or step_id,
        function_name=_text(given, "functionName", faults, f"{place}."),
        input_path=texts["inputPath"],
        result_path=texts["resultPath"],
        next_step_id=texts["nextStepId"],
    )


def _text(given: dict[str, Any], name: str, faults: list[Fault], place: str = "") -> str:
    value = given.get(name)
    if not isinstance(value, str):
        faults.append(Fault(place + name, "must be a string"))
    elif not value.strip():
        faults.append(Fault(place + name, "should not be empty"))
    elif len(value) > TEXT_CHARACTERS_MAX:
        faults.append(Fault(place + name, f"must be {TEXT_CHARACTERS_MAX} characters at most"))
    else:
        return value
    return ""


def _dangling(start_at: str, steps: dict[str, Step]) -> list[Fault]:
    faults = []
    if start_at not in steps:
        faults.append(Fault("startAt", f"names no step: {start_at!r}"))
    for step in steps.values():
        if step.next_step_id is not None and step.next_step_id not in steps:
            place = f"steps.{step.id}.nextStepId"
            faults.append(Fault(place, f"names no step: {step.next_step_id!r}"))
    return faults
