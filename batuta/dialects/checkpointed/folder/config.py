"""A workflow's `config.json`: reading it, and every reason why it cannot be used."""

import json
import re
from pathlib import Path
from typing import Any

from batuta.model.error import InvalidError

CONFIG = "config.json"
CONFIG_BYTES_MAX = 1_000_000
STEPS_MAX = 200  # each is a task of the job
TIMEOUT_S_MAX = 30 * 86_400
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_STEP = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a folder's configuration, with all that its author wrote.

    Raises:
        InvalidError: It cannot be read or used; names every fault.
    """
    path = folder / CONFIG
    try:
        if path.stat().st_size > CONFIG_BYTES_MAX:
            raise InvalidError(f"{CONFIG} is larger than {CONFIG_BYTES_MAX:,} bytes")
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InvalidError(f"{CONFIG} is missing") from None
    except OSError as error:
        raise InvalidError(f"{CONFIG} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidError(f"{CONFIG} is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidError(f"{CONFIG} must hold an object")
    faults = _faults(document)
    if faults:
        raise InvalidError(f"{CONFIG}: " + "; ".join(faults))
    return document


def _faults(document: dict[str, Any]) -> list[str]:
    faults = []
    workflow_id = document.get("id")
    if not isinstance(workflow_id, str) or not ID.fullmatch(workflow_id):
        faults.append("id must be a text of letters, digits, '.', '_' and '-'")
    if not isinstance(document.get("name"), str) or not document["name"].strip():
        faults.append("name must be a text that is not empty")
    if not isinstance(document.get("enabled", True), bool):
        faults.append("enabled must be true or false")
    accepted = document.get("accepted_types", [])
    if not isinstance(accepted, list) or not all(isinstance(one, str) for one in accepted):
        faults.append("accepted_types must be a list of texts as 'image/*'")
    steps = document.get("steps")
    if not isinstance(steps, list) or not 0 < len(steps) <= STEPS_MAX:
        return [*faults, f"steps must be a list of 1 to {STEPS_MAX} objects"]
    names: set[str] = set()
    for place, step in enumerate(steps):
        faults.extend(f"steps[{place}]{fault}" for fault in _step_faults(step, names))
    return faults


def _step_faults(step: Any, names: set[str]) -> list[str]:
    if not isinstance(step, dict):
        return [" must be an object"]
    faults = []
    name = step.get("name")
    if not isinstance(name, str) or not _STEP.fullmatch(name):
        faults.append(".name must be a word that can be a method's name")
    elif name in names:
        faults.append(f".name {name!r} is another step's too")
    else:
        names.add(name)
    if not isinstance(step.get("type", ""), str):
        faults.append(".type must be a text")
    limit = step.get("timeout_seconds", 1)
    is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if not is_number or not 0 < limit <= TIMEOUT_S_MAX:
        faults.append(f".timeout_seconds must be a number up to {TIMEOUT_S_MAX:,}")
    return faults
