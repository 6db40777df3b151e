"""Loading a workflow's code, each version under a module name of its own."""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import msgspec

from batuta.dialects.checkpointed.author.base import BaseWorkflow, resume_checks
from batuta.dialects.checkpointed.folder.config import read_config
from batuta.model.error import InvalidError

CODE = "workflow.py"
_PREFIX = "_batuta_workflow_"

Checks = Mapping[str, tuple[Callable[..., Any], ...]]


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow as its folder has it now. ``checks``: its own resume conditions, by type."""

    config: dict[str, Any]
    made: type[BaseWorkflow]
    checks: Checks
    folder: Path

    @property
    def workflow_id(self) -> str:
        """Its id, which is the configuration's and not the folder's."""
        return str(self.config["id"])

    @property
    def is_listed(self) -> bool:
        """Say whether it is shown and can be executed."""
        return bool(self.config.get("enabled", True))


class _Loader(importlib.machinery.SourceFileLoader):
    """Reads the source each time: compiled files are told apart by whole seconds only."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


def class_name(folder_name: str) -> str:
    """Return how the class of a folder is called: `my_workflow` has `MyWorkflowWorkflow`."""
    return "".join(part.capitalize() for part in folder_name.split("_")) + "Workflow"


def load_package(folder: Path, signature: str) -> Package:
    """Return a folder's workflow, its code run anew.

    Args:
        signature: Another one for every state of the folder.

    Raises:
        InvalidError: Why it cannot be used.
    """
    config = read_config(folder)
    if not (folder / CODE).is_file():
        raise InvalidError(f"{CODE} is missing")
    digest = hashlib.sha256(f"{folder}\0{signature}".encode()).hexdigest()[:16]
    module = _run(folder, f"{_PREFIX}{digest}")
    wanted = class_name(folder.name)
    made = vars(module).get(wanted)
    if not inspect.isclass(made):
        raise InvalidError(f"{CODE} has no class {wanted}, as the folder's name asks for")
    if not issubclass(made, BaseWorkflow):
        raise InvalidError(f"{CODE}: class {wanted} is no subclass of BaseWorkflow{_whose(made)}")
    return Package(config=config, made=made, checks=checks_of(vars(module)), folder=folder)


def load_checks(path: Path, signature: str) -> Checks:
    """Return the resume conditions in a file of the workflows folder itself.

    Raises:
        InvalidError: Its code fails.
    """
    digest = hashlib.sha256(f"{path}\0{signature}".encode()).hexdigest()[:16]
    name = f"{_PREFIX}{digest}"
    return checks_of(vars(_run_file(path, name)))


def checks_of(namespace: Mapping[str, Any]) -> Checks:
    """Return the checks among a module's names, by type of error."""
    found: dict[str, tuple[Callable[..., Any], ...]] = {}
    for error_type, check in resume_checks(namespace):
        if check not in found.get(error_type, ()):
            found[error_type] = (*found.get(error_type, ()), check)
    return found


def forget(path: Path) -> None:
    """Let go of the modules of a folder's or file's earlier versions; what has them keeps them."""
    for name in [name for name in sys.modules if name.startswith(_PREFIX)]:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(place and Path(place).is_relative_to(path) for place in places):
            del sys.modules[name]


def _whose(made: type) -> str:
    """Say which other class of that name it comes from; the original's own may be in the way."""
    others = [base for base in made.__mro__ if base.__name__ == BaseWorkflow.__name__]
    if not others:
        return ""
    file = getattr(sys.modules.get(others[0].__module__), "__file__", None)
    return f" of ours, but of the one in {file or others[0].__module__}; take that file away"


def _run(folder: Path, name: str) -> ModuleType:
    """Run `workflow.py` as a module of a package, so that it may import files beside it."""
    first = folder / "__init__.py"
    package = ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    if first.is_file():
        loaded = _run_file(first, name, is_package=True)
        loaded.__path__ = [str(folder)]
    return _run_file(folder / CODE, f"{name}.workflow")


def _run_file(path: Path, name: str, *, is_package: bool = False) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name,
        path,
        loader=_Loader(name, str(path)),
        submodule_search_locations=[str(path.parent)] if is_package else None,
    )
    assert spec is not None, "a loader was given"
    assert spec.loader is not None, "a loader was given"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever the file raises while it is run
        sys.modules.pop(name, None)
        raise InvalidError(f"{path.name} fails: {type(error).__name__}: {error}") from error
    return module
