"""The import contracts bite: each kind of forbidden import, planted in a copy, is reported."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "batuta", tmp_path / "batuta", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _verdict(folder: Path) -> str:
    run = subprocess.run(
        [LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False
    )
    return run.stdout + run.stderr


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/planted.py", "import time", "The core does no I/O and knows no time"),
        ("model/planted.py", "import asyncio", "The core does no I/O and knows no time"),
        ("core/planted.py", "import batuta.store", "A name imports only what stands below it"),
        ("store/planted.py", "import batuta.runtime", "A name imports only what stands below it"),
        (
            "cli/planted.py",
            "import batuta.store.sqlite",
            "Only the composition root names a database",
        ),
        (
            "runtime/planted.py",
            "import batuta.store.memory",
            "The memory store is for the composition root and for comparison",
        ),
        ("planted.py", "PLANTED = 1", "A name imports only what stands below it"),
    ],
)
def test_a_planted_import_is_reported(copy: Path, file: str, line: str, contract: str) -> None:
    (copy / "batuta" / file).write_text(f'"""Planted."""\n\n{line}\n', "utf-8")

    verdict = _verdict(copy)

    assert f"{contract} BROKEN" in verdict, verdict


def test_a_planted_cycle_is_reported(copy: Path) -> None:
    core = copy / "batuta" / "core"
    (core / "planted_a.py").write_text("import batuta.core.planted_b\n", "utf-8")
    (core / "planted_b.py").write_text("import batuta.core.planted_a\n", "utf-8")

    verdict = _verdict(copy)

    assert "No cycles between siblings BROKEN" in verdict, verdict


def test_the_code_as_it_is_keeps_the_contracts(copy: Path) -> None:
    verdict = _verdict(copy)

    assert " 0 broken." in verdict, verdict
