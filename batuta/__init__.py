"""A durable workflow engine that speaks Conductor's REST API.

What a worker's author needs is here: `batuta.task` makes a function a worker, `batuta.function`
one that steps call; `FatalError`, `InProgress` and `TaskContext` are for those who want more than
input and output.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batuta.workers.function import FatalError, InProgress, TaskContext, function, task
else:

    def __getattr__(name: str) -> Any:
        # Imported when first asked for: neither `batuta --help` nor a server without workers
        # needs it. Hidden from the type checker, which would believe any name.
        if name not in __all__:
            raise AttributeError(f"module 'batuta' has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module("batuta.workers.function"), name)


__all__ = ["FatalError", "InProgress", "TaskContext", "__version__", "function", "task"]

__version__ = "0.1.0"
