"""May a job whose wait is over go on? Whoever knows is asked: the workflow, then the checks."""

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batuta.dialects.checkpointed.author.base import BaseWorkflow
from batuta.dialects.checkpointed.folder.load import Checks
from batuta.dialects.checkpointed.run.wait import NO_KEY
from batuta.dialects.checkpointed.thread import in_own_thread

CHECK_S = 30.0  # for all checks of one job
# Where a step named its provider and nobody wrote a check: is there a key at all?
KEYS = {
    "openai": ("OPENAI_API_KEY",),
    "fal": ("FAL_KEY",),
    "cloudinary": ("CLOUDINARY_URL", "CLOUDINARY_API_KEY"),
}

_log = logging.getLogger(__name__)


async def may_resume(
    error_info: Mapping[str, Any],
    *,
    make: Callable[[], BaseWorkflow],
    checks: Sequence[Checks],
    environment: Mapping[str, str],
    stop: asyncio.Event,
) -> bool:
    """Say whether the cause of a failure is gone. A check that fails says no.

    Args:
        error_info: Of the failed attempt.
        make: Makes the workflow's object, whose ``can_resume`` goes first.
        checks: The registered ones; all of this type of error have to say yes.
    """
    error_type = str(error_info.get("error_type") or "")
    wanted = [check for some in checks for check in some.get(error_type, ())]

    async def ask() -> bool:
        told = await make().can_resume(error_info)
        if told is not None:
            return bool(told)
        for check in wanted:
            found = check(error_info)
            if inspect.isawaitable(found):
                found = await found
            if not found:
                return False
        return bool(wanted) or _has_key(error_type, error_info, environment)

    name = f"condition of {error_info.get('workflow_id')}"
    try:
        return bool(await in_own_thread(ask, limit_s=CHECK_S, stop=stop, name=name))
    except Exception:  # noqa: BLE001  of a check that somebody else wrote
        _log.warning("the %s cannot be asked", name, exc_info=True)
        return False


def _has_key(
    error_type: str, error_info: Mapping[str, Any], environment: Mapping[str, str]
) -> bool:
    names = KEYS.get(str(error_info.get("provider") or "").lower())
    if error_type != NO_KEY or names is None:
        return True
    return any(environment.get(name) for name in names)
