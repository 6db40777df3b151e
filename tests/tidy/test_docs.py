"""The documentation is complete, its links lead somewhere, and it agrees with the code."""

import os
import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import batuta
from batuta.core.graph import SERVED_TYPES, SYSTEM_TYPES
from batuta.core.tasks.child import CHILD_DEPTH_MAX
from batuta.core.tasks.dynamic.fan_out import DYNAMIC_FORK_MAX
from batuta.core.tasks.dynamic.shape import SHAPE_BYTES_MAX

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TOP_PAGES = sorted(ROOT.glob("*.md"))
KINDS = {"tutorial", "howto", "reference", "explanation", "design"}

LINK = re.compile(r"\[[^]]*]\(([^)#\s]+)(?:#[^)]*)?\)")
TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
HELP = re.compile(r"^([a-z][a-z-]*):.*## \S", re.MULTILINE)
MAKE_COMMAND = re.compile(r"`make ([a-z]+)")
TEST_PATH = re.compile(r"`((?:tests|batuta/testing)/[\w/]+\.py)(?:::(\w+))?`")


def _where(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _package_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement)[0] for requirement in requirements}


def _direct_dependencies() -> set[str]:
    project = _project()
    extras = project["project"]["optional-dependencies"].values()
    return _package_names(
        [
            *project["project"]["dependencies"],
            *(requirement for extra in extras for requirement in extra),
            *project["dependency-groups"]["dev"],
        ]
    )


def _makefile() -> str:
    return (ROOT / "Makefile").read_text("utf-8")


def test_every_page_is_linked_from_the_index() -> None:
    index = (DOCS / "README.md").read_text("utf-8")
    linked = {(DOCS / target).resolve() for target in LINK.findall(index)}

    lost = [_where(page) for page in PAGES if page.name != "README.md" and page not in linked]

    assert not lost, f"link them from docs/README.md: {lost}"


@pytest.mark.parametrize("page", [*PAGES, *TOP_PAGES], ids=_where)
def test_a_relative_link_leads_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text("utf-8")) if ":" not in target]

    dead = [target for target in targets if not (page.parent / target).exists()]

    assert not dead, f"{_where(page)} links to what is not there: {dead}"


@pytest.mark.parametrize("page", PAGES, ids=_where)
def test_a_page_has_a_title_and_says_something(page: Path) -> None:
    text = page.read_text("utf-8")

    assert text.startswith("# "), f"{_where(page)}: open with a title"
    assert len(text.split()) > 40, f"{_where(page)}: an empty page helps nobody; write or delete it"


def test_a_folder_of_docs_is_one_of_the_five_kinds() -> None:
    folders = {path.name for path in DOCS.iterdir() if path.is_dir()}

    assert folders <= KINDS, (
        "a page is a tutorial, a howto, a reference, an explanation or a design"
    )


def test_every_dependency_has_its_sentence_of_reason() -> None:
    text = (DOCS / "design" / "002-dependencies.md").read_text("utf-8")
    explained = set(re.findall(r"^\| ([a-z0-9-]+) \|", text, re.MULTILINE))

    missing = _direct_dependencies() - explained

    assert not missing, f"say in docs/design/002-dependencies.md why they are needed: {missing}"


def test_the_lock_holds_every_dependency_with_hashes_and_no_host() -> None:
    lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))

    assert _direct_dependencies() <= pinned, "run make lock"
    assert lock.count("--hash=sha256:") >= len(pinned), "an entry without a hash can be replaced"
    assert "://" not in lock, "where packages come from is the machine's business"


def test_the_change_log_has_the_current_version_first() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+)", text, re.MULTILINE)

    assert versions[0] in {batuta.__version__, "Unreleased"}, "tell users what changes"


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert metadata.version("batuta") == batuta.__version__, "run make setup"


def test_every_make_target_explains_itself() -> None:
    targets = set(TARGET.findall(_makefile()))

    assert {"help", "setup", "run", "test", "check", "fix", "sim", "bench"} <= targets
    assert targets == set(HELP.findall(_makefile())), "a target needs a ## comment, for make help"


def test_every_make_target_is_phony_and_in_the_reference() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", _makefile(), re.MULTILINE)
    reference = (DOCS / "reference" / "development-commands.md").read_text("utf-8")
    targets = set(TARGET.findall(_makefile()))

    assert phony is not None
    assert set(phony[1].split()) == targets, "a file of the target's name would stop it"
    assert set(MAKE_COMMAND.findall(reference)) == targets


@pytest.mark.parametrize("page", [*PAGES, *TOP_PAGES], ids=_where)
def test_a_make_command_that_is_named_exists(page: Path) -> None:
    named = set(MAKE_COMMAND.findall(page.read_text("utf-8")))

    assert named <= set(TARGET.findall(_makefile())), f"{_where(page)} names no such target"


def test_the_layer_table_is_the_one_that_is_checked() -> None:
    contracts = _project()["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    checked = [re.findall(r"\w+", layer) for layer in layers if "__main__" not in layer]
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    table = text.split("| layer | holds |")[1].split("##")[0]

    written = [
        re.findall(r"`(\w+)`", row.split("|")[1]) for row in table.splitlines() if "`" in row
    ]

    assert written == checked


@pytest.mark.parametrize("page", PAGES, ids=_where)
def test_a_test_that_is_cited_exists(page: Path) -> None:
    cited = TEST_PATH.findall(page.read_text("utf-8"))

    for path, name in cited:
        assert (ROOT / path).is_file(), f"{_where(page)} cites {path}, which is not there"
        if name:
            assert f"def {name}(" in (ROOT / path).read_text("utf-8"), f"{path} has no {name}"


def test_ci_can_be_run_as_a_program() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_task_type_of_the_engine_is_described() -> None:
    page = (DOCS / "reference" / "tasks.md").read_text("utf-8")
    described = set(re.findall(r"^\| ([A-Z_]+) \|", page, re.MULTILINE))

    assert described == SYSTEM_TYPES | SERVED_TYPES | {"SIMPLE"}


def test_the_limits_of_dynamic_tasks_are_those_of_the_code() -> None:
    page = (DOCS / "reference" / "tasks.md").read_text("utf-8")

    assert f"{DYNAMIC_FORK_MAX:,} branches" in page
    assert f"{SHAPE_BYTES_MAX // 1024} kB for the definition" in page
    assert f"nest to {CHILD_DEPTH_MAX} levels" in page
