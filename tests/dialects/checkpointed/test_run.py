"""Class workflows with checkpoints, by the numbers of their acceptance scenarios (S4.9)."""

from tests.dialects.checkpointed.classes import World, chain, form, write

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


async def test_s4_01_a_folder_that_is_dropped_in_is_listed_without_a_restart(here: World) -> None:
    before = (await here.server.ask("GET /workflows/list")).json
    write(here.folder, "my_workflow", "upload", "process", body=chain("upload", "process"))

    after = (await here.server.ask("GET /workflows/list")).json

    assert before["success"] is True
    assert "my-workflow" not in [one["id"] for one in before["workflows"]]
    [added] = [one for one in after["workflows"] if one["id"] == "my-workflow"]
    assert [step["name"] for step in added["steps"]] == ["upload", "process"]


async def test_s4_02_a_file_goes_through_two_steps_to_the_end(here: World) -> None:
    write(
        here.folder,
        "my_workflow",
        "upload",
        "process",
        body="    async def step_upload(self, input_file, step_config):\n"
        "        return {'url': input_file['url'], 'bytes': len(input_file.read())}\n\n"
        "    async def step_process(self, input_data, step_config):\n"
        "        return {'result': input_data['bytes'] * 2, 'type': step_config['type']}\n",
    )

    sent = form(workflow_id="my-workflow", file=("a.png", "image/png", PNG), options='{"a": 1}')
    answer = await here.ask("POST /workflows/execute", **sent)

    assert answer.status == 200, answer.body
    assert set(answer.json) == {"success", "job_id", "stream_url"}
    job_id = answer.json["job_id"]
    assert answer.json["stream_url"] == f"/jobs/{job_id}/stream"
    await here.server.ended(job_id)
    shown = await here.execution(job_id)
    assert shown["status"] == "completed"
    assert [shown["checkpoints"][key]["status"] for key in "01"] == ["completed"] * 2
    assert shown["checkpoints"]["1"]["output"] == {"result": 2 * len(PNG), "type": "generation"}
    assert shown["checkpoints"]["_input"]["filename"] == "a.png"
    job = await here.job(job_id)
    assert (job["progress"], job["status"]) == (100, "completed")
