"""The checks: a function for each name in the list, `module.function`.

Each takes the bench and what tells items apart that share it; it gives what was seen, or raises
CheckError where the item does not hold and AbsentError where it cannot.
"""

from collections.abc import Callable
from types import ModuleType

from batuta.cli.checklist.item import AbsentError
from batuta.cli.verify.check import (
    definition,
    document,
    hook,
    load,
    move,
    server,
    simple,
    worker,
)
from batuta.cli.verify.check.firmware import device, failure, pattern, run
from batuta.cli.verify.plant.bench import Bench

Check = Callable[[Bench, str], str]

_MODULES: dict[str, ModuleType] = {
    "definition": definition,
    "device": device,
    "document": document,
    "failure": failure,
    "hook": hook,
    "load": load,
    "move": move,
    "pattern": pattern,
    "run": run,
    "server": server,
    "simple": simple,
    "worker": worker,
}


def find(name: str) -> Check:
    """Return the check of a name; ``absent`` is that of what this version does not have."""
    if name == "absent":
        return _absent
    module, _, function = name.partition(".")
    check: Check = getattr(_MODULES[module], function)
    return check


def _absent(_: Bench, why: str) -> str:
    raise AbsentError(why)
