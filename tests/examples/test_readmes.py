"""The README of each example, typed as it stands beside a server, ends as it says."""

from pathlib import Path

import pytest

from tests.examples.page import is_quoted, open_shell, read_steps
from tests.examples.stage import (
    EXAMPLES,
    NAMES,
    ROOT,
    Stage,
    environment_of,
    weather_service,
)


@pytest.mark.parametrize("name", NAMES)
def test_the_commands_of_a_readme_work_as_typed(stage: Stage, tmp_path: Path, name: str) -> None:
    steps = read_steps((EXAMPLES / name / "README.md").read_text("utf-8"))
    settings = environment_of(f"{stage.url}/api", tmp_path)

    with weather_service() as service, open_shell(ROOT, settings) as shell:
        for step in steps:
            code, printed = shell.type(_with_service(step.typed, service))
            assert code == step.code, f"{step.typed}\n{printed}"
            assert all(is_quoted(block, EXAMPLES) for block in step.shown), step.shown
        shell.type("kill $(jobs -p)")
    assert steps


def _with_service(typed: str, service: str) -> str:
    """Let the weather report call a service whose port is surely free."""
    typed = typed.replace("examples.weather.service", "examples.weather.service --port 0")
    return typed.replace("run weather_report", f"run weather_report --input service={service}")
