"""Finding the task functions of modules that are named on a command line."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from batuta.model.error import InvalidError, NotFoundError
from batuta.workers.function import TaskFunction, named_functions, task_functions


class Loaded(msgspec.Struct, frozen=True):
    """What modules have: functions that do tasks, and functions that steps call, by name."""

    tasks: list[TaskFunction]
    functions: dict[str, Callable[..., Any]]


def load_functions(modules: Sequence[str]) -> list[TaskFunction]:
    """Import the modules and give their task functions; as ``load_modules``."""
    return load_modules(modules).tasks


def load_modules(modules: Sequence[str]) -> Loaded:
    """Import the modules and give what they have.

    Args:
        modules: Dotted names, looked up from the working folder first, or paths of `.py` files.

    Raises:
        NotFoundError: There is no such module.
        InvalidError: A module has neither, fails when imported, or two functions do one type.
    """
    named: dict[str, Callable[..., Any]] = {}
    found: dict[tuple[str, str | None], TaskFunction] = {}
    for name in modules:
        names = vars(_import(name))
        functions, of_steps = list(task_functions(names)), named_functions(names)
        named |= of_steps
        if not functions and not of_steps:
            raise InvalidError(
                f"module {name!r} has no task function; write @batuta.task('name') above one"
            )
        for function in functions:
            key = (function.task_type, function.domain)
            if found.setdefault(key, function).call is not function.call:
                raise InvalidError(f"two functions do task {function.task_type!r}; keep one")
    return Loaded(list(found.values()), named)


def _import(name: str) -> ModuleType:
    if name.endswith(".py"):
        return _import_file(Path(name))
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # only when it is the module itself that is absent, not something that it imports
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise NotFoundError(
                f"there is no module {name!r} here or installed; name it as in an import, "
                "or give the path of its .py file"
            ) from error
        raise InvalidError(f"module {name!r} cannot be imported: {error}") from error
    except Exception as error:  # whatever the module raises while it is imported
        raise InvalidError(
            f"module {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotFoundError(f"there is no file {str(path)!r}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidError(f"file {str(path)!r} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the file raises while it is imported
        raise InvalidError(
            f"file {str(path)!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return module
