"""What is played on the bench, once each; the checks look at what came of it."""

import functools
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from batuta.cli.checklist.item import AbsentError, CheckError
from batuta.cli.verify.plant.bench import (
    PIPELINE,
    QUICK,
    Bench,
    Json,
    definitions,
    output_of,
)

FLASH_70_9 = 2_230_321  # bytes, of 3,145,728
HEAP_LOW, HEAP_USUAL = 40_000, 150_000
FPS_LOW, FPS_USUAL = 25, 60

_Value = TypeVar("_Value")


def once(play: Callable[[Bench], _Value]) -> Callable[[Bench], _Value]:
    """Play a scene when it is first asked for; what went wrong goes wrong again without it."""

    @functools.wraps(play)
    def played(bench: Bench) -> _Value:
        name = play.__name__
        if name not in bench.seen:
            try:
                bench.seen[name] = play(bench)
            except (CheckError, AbsentError) as error:
                bench.seen[name] = error
        found = bench.seen[name]
        if isinstance(found, Exception):
            raise found
        value: _Value = found
        return value

    return played


@once
def good_pipeline(bench: Bench) -> Json:
    """A pipeline with nothing wrong."""
    run = bench.pipeline(bench.commit())
    if run["status"] != "COMPLETED":
        raise CheckError(f"it is {run['status']}: {run.get('reasonForIncompletion')}")
    return run


@once
def large_pipeline(bench: Bench) -> Json:
    """A pipeline whose build takes 70.9 % of the flash."""
    return bench.pipeline(bench.commit(flash_bytes=FLASH_70_9))


@once
def warned_pipeline(bench: Bench) -> Json:
    """A pipeline whose build has a warning."""
    return bench.pipeline(bench.commit(source='#warning "unused variable"\n'))


@once
def pattern(bench: Bench) -> Json:
    """A pattern test with nothing wrong."""
    run = _pattern(bench)
    if run["status"] != "COMPLETED":
        raise CheckError(f"it is {run['status']}: {run.get('reasonForIncompletion')}")
    return run


@once
def slow_pattern(bench: Bench) -> Json:
    """A pattern test on a device that makes 25 frames a second."""
    pattern(bench)  # whose numbers are the baseline
    bench.switch(fps=FPS_LOW)
    try:
        return _pattern(bench)
    finally:
        bench.switch(fps=FPS_USUAL)


@once
def offline_pipeline(bench: Bench) -> Json:
    """A pipeline whose device is offline; its retries do not wait."""
    bench.switch(is_offline=True)
    try:
        return bench.pipeline(bench.commit(), QUICK)
    finally:
        bench.switch(is_offline=False)


@once
def failure_handler(bench: Bench) -> Json:
    """The failure workflow of that pipeline."""
    run = offline_pipeline(bench)
    handler = run.get("output", {}).get("conductor.failure_workflow")
    if not handler:
        raise CheckError("no failure workflow was started")
    return bench.server.end(handler)


@once
def rehearsed_backoff(bench: Bench) -> Json:
    """The registered pipeline with each upload failing, in a time of its own."""
    workflows, _ = definitions()
    document = next(one for one in workflows if one["name"] == PIPELINE)
    mocks: dict[str, list[Json]] = {
        task["taskReferenceName"]: [{"output": {"success": True}}] for task in document["tasks"]
    }
    mocks["store_artifact"] = [{"output": {"artifact_url": "file:///firmware.bin"}}]
    mocks["deploy_firmware_ota"] = [{"status": "FAILED", "output": {}}] * 4
    body = {"name": PIPELINE, "taskRefToMockOutput": mocks}
    run: Json = bench.server.call("post", "/workflow/test", body)
    return run


@once
def rollback(bench: Bench) -> Json:
    """A good firmware, then one with which the device is unwell, then the way back."""
    good = good_pipeline(bench)
    again = bench.pipeline(good["input"]["commit_sha"])
    if again["status"] != "COMPLETED":
        raise CheckError(f"the good firmware was not deployed again: {again['status']}")
    before = bench.ask_device("/simulator")["sha256"]
    bench.switch(free_heap=HEAP_LOW)
    try:
        bad = bench.pipeline(bench.commit(source="// heavier\n"), QUICK)
    finally:
        bench.switch(free_heap=HEAP_USUAL)
    between = bench.ask_device("/simulator")["sha256"]
    if bad["status"] != "FAILED" or between == before:
        raise CheckError("a device that is unwell did not fail the pipeline")
    given = {"failed_workflow_id": bad["workflowId"]}
    run = bench.server.run("deployment-rollback-handler", given)
    if run["status"] != "COMPLETED":
        raise CheckError(f"it is {run['status']}: {run.get('reasonForIncompletion')}")
    return {**run, "before": before, "after": bench.ask_device("/simulator")["sha256"]}


def stored_bytes(bench: Bench, run: Json) -> tuple[bytes, str]:
    """Give the stored binary of a run, and its SHA-256."""
    sha = run["input"]["commit_sha"]
    content = (bench.artifacts / "firmware" / f"firmware-{sha}.bin").read_bytes()
    return content, hashlib.sha256(content).hexdigest()


def expect(is_so: object, text: str) -> None:
    """Refuse what is not as it must be.

    Raises:
        CheckError: It is not so; the text says what was found.
    """
    if not is_so:
        raise CheckError(text)


def compiled(run: Json) -> Any:
    """Give what the compiler's task gave."""
    return output_of(run, "platformio_compile")


def _pattern(bench: Bench) -> Json:
    given = {
        "pattern_name": "breathe",
        "pattern_params": {"speed": 1.0, "brightness": 0.8},
        "baseline_version": "v1.0.0",
    }
    run = bench.server.run("pattern-generation-testing", given)
    bench.runs.append(run)
    bench.commits.append(output_of(run, "generate_pattern_code")["commit_sha"])
    return run
