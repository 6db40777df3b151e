"""House rules that no linter knows. Each message says what to do instead."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "batuta"
OURS = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
EVERYTHING = [*OURS, *TESTS, *BENCH, *EXAMPLES]

LINES_MAX = 400  # a file holds one idea
TEST_LINES_MAX = 500  # a file of cases may be longer, since its cases do not depend on each other
FUNCTION_LINES_MAX = 50  # fits a screen
FOLDER_FILES_MAX = 12  # a folder can be read as a list
TEST_FOLDER_FILES_MAX = 24  # in tests/unit a file answers to a module of the package, of any folder

PURE = ("core", "model")
# Whatever reaches outside, or cannot be repeated from the same arguments.
IMPURE_CALLS = {"open", "print", "input", "breakpoint"}
# Stored data is never code; see SECURITY.md.
DANGEROUS_CALLS = {"eval", "exec", "compile", "__import__"}
DANGEROUS_MODULES = {"pickle", "marshal", "shelve", "dill", "cloudpickle"}
VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "services", "managers", "misc"}
# Spelled in two parts, so that this file does not break its own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(["FIX" + "ME", "TO" + "DO", "XX" + "X"]) + r")\b")
DANGEROUS_YAML = {"load", "load_all", "unsafe_load", "full_load"}

Node = TypeVar("Node", bound=ast.AST)


def _where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _is_pure(path: Path) -> bool:
    return path.is_relative_to(PACKAGE) and path.relative_to(PACKAGE).parts[0] in PURE


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _nodes(path: Path, kind: type[Node]) -> Iterator[Node]:
    return (node for node in ast.walk(_tree(path)) if isinstance(node, kind))


each_of_ours = pytest.mark.parametrize("path", OURS, ids=_where)
each_file = pytest.mark.parametrize("path", EVERYTHING, ids=_where)


@each_file
def test_a_file_fits_one_idea(path: Path) -> None:
    limit = TEST_LINES_MAX if path in TESTS else LINES_MAX

    lines = path.read_text("utf-8").count("\n")

    assert lines <= limit, f"{_where(path)} has {lines} lines, over {limit}: find its second idea"


@each_file
def test_a_file_says_what_it_is_for(path: Path) -> None:
    docstring = ast.get_docstring(_tree(path))

    assert docstring, f"{_where(path)}: say in a docstring what the file is for"


@each_file
def test_nothing_is_left_for_later(path: Path) -> None:
    found = UNFINISHED.search(path.read_text("utf-8"))

    assert found is None, f"{_where(path)}: finish it, or open an issue: {found}"


@each_of_ours
def test_a_function_fits_a_screen(path: Path) -> None:
    too_long = [
        f"{_where(path)}:{node.lineno} {node.name}"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert not too_long, f"split what has over {FUNCTION_LINES_MAX} lines: {too_long}"


@each_of_ours
def test_the_core_never_awaits(path: Path) -> None:
    found = [node.lineno for node in _nodes(path, ast.AsyncFunctionDef) if _is_pure(path)]

    assert not found, f"{_where(path)}:{found}: load first, then decide"


@each_of_ours
def test_the_core_touches_nothing_outside(path: Path) -> None:
    found = [
        f"{node.func.id} in line {node.lineno}"
        for node in _nodes(path, ast.Call)
        if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS and _is_pure(path)
    ]

    assert not found, f"{_where(path)}: {found}: pass the data in as an argument"


@each_of_ours
def test_data_is_never_run_as_code(path: Path) -> None:
    calls = [node.func for node in _nodes(path, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    yaml_calls = {
        call.attr
        for call in calls
        if isinstance(call, ast.Attribute)
        and isinstance(call.value, ast.Name)
        and call.value.id == "yaml"
    }
    modules = {alias.name for node in _nodes(path, ast.Import) for alias in node.names}
    modules |= {node.module for node in _nodes(path, ast.ImportFrom) if node.module}

    assert not names & DANGEROUS_CALLS, f"{_where(path)}: parse the data instead of running it"
    assert not yaml_calls & DANGEROUS_YAML, f"{_where(path)}: use yaml.safe_load"
    assert not modules & DANGEROUS_MODULES, f"{_where(path)}: store JSON; a pickle runs code"


@each_of_ours
def test_a_name_says_what_is_inside(path: Path) -> None:
    words = {path.stem, path.parent.name}

    assert not words & VAGUE_NAMES, f"{_where(path)}: name it after the idea it holds"


@pytest.mark.parametrize("folder", sorted({path.parent for path in EVERYTHING}), ids=_where)
def test_a_folder_can_be_read_as_a_list(folder: Path) -> None:
    limit = TEST_FOLDER_FILES_MAX if folder.is_relative_to(ROOT / "tests") else FOLDER_FILES_MAX

    files = list(folder.glob("*.py"))

    assert len(files) <= limit, (
        f"{_where(folder)} has {len(files)} Python files: fold what belongs together into a folder"
    )


def test_the_rules_look_at_real_files() -> None:
    assert PACKAGE / "__init__.py" in OURS, "the package is where these rules look for it"
    assert Path(__file__) in TESTS, "the tests are where these rules look for them"
