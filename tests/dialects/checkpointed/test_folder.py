"""Folders of class workflows: what is found, what is refused, what is told of it (S4.2)."""

import sys
from pathlib import Path
from typing import Any

import pytest

from batuta.dialects.checkpointed import thread
from batuta.dialects.checkpointed.folder import shelf
from batuta.dialects.checkpointed.folder.load import class_name
from tests.dialects.checkpointed.classes import (
    World,
    chain,
    eventually,
    waiting_for,
    write,
)

SOURCE_DOCUMENT = """\
from workflows.base_workflow import BaseWorkflow

class MyWorkflowWorkflow(BaseWorkflow):
    async def step_upload(self, input_file, step_config):
        # Your upload logic
        return {"url": "..."}

    async def step_process(self, input_data, step_config):
        # Your processing logic
        return {"result": "..."}
"""
SOURCE_CONFIG = """\
{
  "id": "my-workflow",
  "name": "My Workflow",
  "description": "...",
  "steps": [
    {"name": "upload", "type": "input"},
    {"name": "process", "type": "generation"}
  ]
}
"""


async def listed(here: World) -> list[str]:
    """Return the ids of the list, those of ours left out."""
    found = (await here.server.ask("GET /workflows/list")).json["workflows"]
    return [one["id"] for one in found if one["id"] != "img-edit-to-video"]


async def faults(here: World) -> dict[str, str]:
    """Return what cannot be used, by folder."""
    found = (await here.ask("GET /workflows/diagnostics")).json
    return {one["folder"]: one["error"] for one in found["diagnostics"]}


async def test_s4_01_b_the_files_of_the_source_document_run_as_they_are(here: World) -> None:
    place = here.folder / "my_workflow"
    place.mkdir()
    (place / "workflow.py").write_text(SOURCE_DOCUMENT)
    (place / "config.json").write_text(SOURCE_CONFIG)

    job = await here.ended("my-workflow")

    assert job["status"] == "completed"
    shown = (await here.execution(job["job_id"]))["checkpoints"]
    assert shown["1"]["output"] == {"result": "..."}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my_workflow", "MyWorkflowWorkflow"),
        ("csk_roar_2k26", "CskRoar2k26Workflow"),
        ("img_edit_to_video", "ImgEditToVideoWorkflow"),
    ],
)
def test_s4_01_c_a_class_is_called_as_its_folder(folder: str, name: str) -> None:
    assert class_name(folder) == name


async def test_s4_01_d_a_change_is_seen_without_a_restart(here: World) -> None:
    body = "    def step_a(self, given, config):\n        return {'n': 1}\n"
    write(here.folder, "job", "a", body=body)
    first = await here.ended("job")
    write(here.folder, "job", "a", body=body.replace("1}", "2}"))
    second = await here.ended("job")
    write(here.folder, "job", "a", "b", body=body + body.replace("step_a", "step_b"))
    third = await here.ended("job")

    outputs = []
    for job in (first, second, third):
        shown = (await here.execution(job["job_id"]))["checkpoints"]
        outputs.append([shown[key]["output"]["n"] for key in shown if key != "_input"])
    assert outputs == [[1], [2], [1, 1]]


async def test_s4_01_e_a_running_job_keeps_the_steps_it_began_with(here: World) -> None:
    write(here.folder, "job", "a", "b", "c", body=chain("a", "b", "c", a=waiting_for("go")))
    job_id = await here.start("job")
    await here.until_called("a")

    write(here.folder, "job", "x", body=chain("x", "b", "c"))
    assert await listed(here) == ["job"]
    (here.folder / "go").write_text("yes")
    await here.until(job_id, "completed")

    assert here.calls == ["a", "b", "c"]
    assert (await here.execution(job_id))["total_steps"] == 3


async def test_s4_01_f_a_job_waits_while_its_folder_is_broken(here: World) -> None:
    write(here.folder, "job", "a", body=chain("a", a="        raise ValueError('x')\n"))
    job_id = await here.start("job")
    await here.until_due(job_id)
    (here.folder / "job" / "workflow.py").write_text("this is no Python")

    assert (await here.ask(f"POST /workflows/retry/{job_id}")).status == 200
    await here.until_due(job_id)
    write(here.folder, "job", "a", body=chain("a"))
    here.jump(10)

    await here.until(job_id, "completed")
    assert here.calls == ["a", "a"]


async def test_s4_20_a_broken_folder_does_not_hide_the_others_and_is_named(
    here: World, caplog: pytest.LogCaptureFixture
) -> None:
    write(here.folder, "good", "a", body=chain("a"))
    write(here.folder, "bad_code", "a", body="    nonsense(\n")
    write(here.folder, "raises", "a", body="    1 / 0\n")
    write(here.folder, "exits", "a", body="    raise SystemExit(1)\n")
    write(here.folder, "bad_steps", "a", body=chain("a"), steps=[{"name": "a b"}, 3])
    write(here.folder, "twins", "a", body=chain("a"), steps=[{"name": "a"}, {"name": "a"}])
    write(here.folder, "no_id", "a", body=chain("a"), id="../x")
    write(here.folder, "zgood", "a", body=chain("a"), id="good")
    write(here.folder, "no_class", "a", body=chain("a"))
    (here.folder / "no_class" / "workflow.py").write_text("class Other: pass")
    write(here.folder, "no_base", "a", body=chain("a"))
    (here.folder / "no_base" / "workflow.py").write_text("class NoBaseWorkflow: pass")
    write(here.folder, "no_config", "a", body=chain("a"))
    (here.folder / "no_config" / "config.json").unlink()
    write(here.folder, "no_code", "a", body=chain("a"))
    (here.folder / "no_code" / "workflow.py").unlink()
    write(here.folder, "no_json", "a", body=chain("a"))
    (here.folder / "no_json" / "config.json").write_text("{")

    assert await listed(here) == ["good"]
    told = await faults(here)
    expected = {
        "bad_code": "SyntaxError",
        "raises": "ZeroDivisionError",
        "exits": "SystemExit",
        "bad_steps": "steps[0].name must be a word",
        "twins": "steps[1].name 'a' is another step's too",
        "no_id": "id must be a text of letters",
        "zgood": "is that of folder 'good' too",
        "no_class": "has no class NoClassWorkflow",
        "no_base": "is no subclass of BaseWorkflow",
        "no_config": "config.json is missing",
        "no_code": "workflow.py is missing",
        "no_json": "config.json is no JSON",
    }
    assert set(told) == set(expected)
    for folder, text in expected.items():
        assert text in told[folder], folder
        assert f"workflow folder {folder} cannot be used" in caplog.text
    assert (await here.ended("good"))["status"] == "completed"


async def test_s4_20_b_what_is_switched_off_or_private_is_not_listed(here: World) -> None:
    write(here.folder, "off", "a", body=chain("a"), enabled=False)
    write(here.folder, "_private", "a", body=chain("a"))
    (here.folder / "notes").mkdir()

    assert await listed(here) == []
    assert await faults(here) == {}
    assert (await here.ask("POST /workflows/execute", {"workflow_id": "off"})).status == 404


async def test_s4_20_c_only_the_operators_own_files_are_run(here: World) -> None:
    write(here.folder, "open", "a", body=chain("a"))
    (here.folder / "open" / "workflow.py").chmod(0o666)
    outside = here.folder.parent / "outside"
    write(outside, "away", "a", body=chain("a"))
    (here.folder / "away").symlink_to(outside / "away")

    assert await listed(here) == []
    told = await faults(here)

    assert told["open"] == "workflow.py may be written by everybody; use chmod o-w"
    assert "leads out of the workflows folder" in told["away"]


async def test_s4_20_d_files_beside_the_code_can_be_imported_and_are_read_anew(
    here: World,
) -> None:
    body = "    def step_a(self, given, config):\n        return {'n': NUMBER}\n"
    write(here.folder, "job", "a", body=body)
    code = here.folder / "job" / "workflow.py"
    code.write_text("from .numbers import NUMBER\n" + code.read_text())
    (here.folder / "job" / "numbers.py").write_text("NUMBER = 7\n")
    first = await here.ended("job")
    (here.folder / "job" / "numbers.py").write_text("NUMBER = 80\n")
    second = await here.ended("job")

    found: list[Any] = []
    for job in (first, second):
        shown = (await here.execution(job["job_id"]))["checkpoints"]
        found.append(shown["0"]["output"]["n"])
    assert found == [7, 80]
    ours = [name for name in sys.modules if name.startswith("_batuta_workflow_")]
    assert len([name for name in ours if name.endswith(".numbers")]) <= 1


async def test_s4_20_f_code_that_never_ends_loading_is_left_and_named(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "LOAD_S", 0.3)
    monkeypatch.setattr(thread, "GRACE_S", 0.1)
    write(here.folder, "endless", "a", body="    import threading; threading.Event().wait()\n")
    write(here.folder, "good", "a", body=chain("a"))

    async def told() -> bool:
        return await listed(here) == ["good"]

    await eventually(told)
    assert "was not loaded after" in (await faults(here))["endless"]
    write(here.folder, "endless", "a", body=chain("a"))
    assert await listed(here) == ["endless", "good"]


async def test_s4_20_e_a_package_workflows_of_ones_own_is_not_hidden(
    here: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "lib" / "workflows"
    own.mkdir(parents=True)
    (own / "__init__.py").write_text("OWN = 'mine'\n")
    (own / "base_workflow.py").write_text("class BaseWorkflow: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    for name in [one for one in sys.modules if one.split(".")[0] == "workflows"]:
        monkeypatch.delitem(sys.modules, name)

    import workflows  # type: ignore[import-not-found]  # of this test
    from workflows.base_workflow import BaseWorkflow  # type: ignore[import-not-found]
    from workflows.errors import HardError  # type: ignore[import-not-found]

    assert workflows.OWN == "mine"
    assert BaseWorkflow.__module__ == "workflows.base_workflow"
    assert HardError.__module__ == "batuta.dialects.checkpointed.author.error"
    for name in [one for one in sys.modules if one.split(".")[0] == "workflows"]:
        sys.modules.pop(name)
    assert here.calls == []
