"""The modules ``workflows.base_workflow``, ``workflows.errors`` and ``workflows.conditions``.

Files that were written for the original system import from them. They are found last, after
whatever else Python finds: a package ``workflows`` of somebody's own is never hidden.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from batuta.dialects.checkpointed.author.base import BaseWorkflow, resume_check
from batuta.dialects.checkpointed.author.error import HardError, RetryableError

PACKAGE = "workflows"
_NAMES: dict[str, dict[str, Any]] = {
    PACKAGE: {},
    f"{PACKAGE}.base_workflow": {"BaseWorkflow": BaseWorkflow},
    f"{PACKAGE}.errors": {"HardError": HardError, "RetryableError": RetryableError},
    f"{PACKAGE}.conditions": {"resume_check": resume_check},
}


class _Alias:
    """Finds and makes the modules; both parts of Python's import protocol."""

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002  part of Python's protocol
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to make one of our modules; None for any other."""
        if name not in _NAMES:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=name == PACKAGE)  # type: ignore[arg-type]  # as the protocol has it

    def create_module(self, _: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """Leave the making of the empty module to Python."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill a module in."""
        vars(module).update(_NAMES[module.__name__])


def install() -> None:
    """Have the modules found from now on; a second call changes nothing."""
    if not any(isinstance(finder, _Alias) for finder in sys.meta_path):
        sys.meta_path.append(_Alias())
