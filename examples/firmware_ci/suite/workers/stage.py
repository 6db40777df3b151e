"""Firmware and web application together: to the test stage, past a person, to production."""

import hashlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import batuta
from batuta.workers.outcome import Outcome
from examples.firmware_ci.suite import notice, place
from examples.firmware_ci.suite.firmware.artifact import read_plain
from examples.firmware_ci.suite.over_air import answers
from examples.firmware_ci.suite.over_air.flash import flash
from examples.firmware_ci.suite.report import failed
from examples.firmware_ci.suite.server import run_of, task_of
from examples.firmware_ci.suite.web import UnreachableError

STAGES = ("staging", "production")
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@batuta.task("build_webapp")
def build_webapp(repo: str, branch: str, commit_sha: str) -> dict[str, Any]:
    """Pack a page that shows the device; the same commit makes the same archive."""
    if not _COMMIT.fullmatch(commit_sha):
        raise batuta.FatalError(f"{commit_sha!r} is no commit")
    page = (
        "<!doctype html><title>K1</title><h1>K1</h1><p id=info></p><script>"
        "fetch('/api/device/info').then(a => a.text()).then(t => info.textContent = t)"
        "</script>\n"
    )
    about = {"repo": repo, "branch": branch, "commit_sha": commit_sha}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, text in (("index.html", page), ("version.json", json.dumps(about))):
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    path = place.folder("webapp") / f"webapp-{commit_sha}.tar"
    part = path.with_suffix(".part")
    part.write_bytes(content.getvalue())
    part.replace(path)
    checksum = hashlib.sha256(content.getvalue()).hexdigest()
    return {"artifact_url": path.as_uri(), "checksum": checksum}


@batuta.task("deploy_webapp_staging")
def deploy_webapp_staging(webapp_artifact: str, environment: str = "staging") -> dict[str, Any]:
    """Put an archive on the test stage."""
    return _deploy(webapp_artifact, environment)


@batuta.task("deploy_webapp_prod")
def deploy_webapp_prod(webapp_artifact: str, environment: str = "production") -> dict[str, Any]:
    """Put an archive into production."""
    return _deploy(webapp_artifact, environment)


@batuta.task("deploy_firmware_test_device")
def deploy_firmware_test_device(
    firmware_artifact: str, task: batuta.TaskContext, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Send firmware to the device of the test stage."""
    return _flash(device_ip, firmware_artifact, task)


@batuta.task("deploy_firmware_prod_device")
def deploy_firmware_prod_device(
    firmware_artifact: str, task: batuta.TaskContext, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Send firmware to the device in production."""
    return _flash(device_ip, firmware_artifact, task)


@batuta.task("run_integration_tests")
def run_integration_tests(
    webapp_url: str, device_ip: str | None = None
) -> dict[str, Any] | Outcome:
    """Look whether the page is there and the device answers all that it asks for."""
    ip = place.device_ip(device_ip)
    tests: dict[str, bool] = {}
    site = Path(unquote(urlsplit(webapp_url).path))
    is_ours = site.parent.resolve() == place.folder("sites").resolve()
    tests["page"] = is_ours and "<h1>K1</h1>" in (site / "index.html").read_text("utf-8")
    try:
        tests["info"] = bool(answers.info(ip).build_signature)
        tests["performance"] = answers.performance(ip).fps > 0
    except UnreachableError as error:
        return failed(str(error), {"passed": False, "tests": tests})
    if not all(tests.values()):
        bad = ", ".join(name for name, is_good in tests.items() if not is_good)
        return failed(f"these tests fail: {bad}", {"passed": False, "tests": tests})
    return {"passed": True, "tests": tests}


@batuta.task("deployment_cancelled")
def deployment_cancelled(reason: str) -> dict[str, Any]:
    """Say that nothing goes to production."""
    return {
        "status": "cancelled",
        **notice.tell(f"Deployment cancelled: {reason}", channel="slack"),
    }


@batuta.task("final_status")
def final_status(task: batuta.TaskContext) -> dict[str, Any]:
    """Say which way the run went: its own tasks tell."""
    run = run_of(task.workflow_id)
    went = {
        name: task_of(run, name).get("status") == "COMPLETED"
        for name in ("deploy_webapp_prod", "deploy_firmware_prod_device", "deployment_cancelled")
    }
    if went["deployment_cancelled"]:
        return {"status": "cancelled"}
    is_deployed = went["deploy_webapp_prod"] and went["deploy_firmware_prod_device"]
    return {"status": "deployed" if is_deployed else "incomplete"}


def _flash(
    device_ip: str | None, firmware_artifact: str, task: batuta.TaskContext
) -> dict[str, Any] | Outcome:
    try:
        return flash(device_ip, firmware_artifact, task.log)
    except (place.RefusedError, FileNotFoundError) as error:
        raise batuta.FatalError(str(error)) from error


def _deploy(artifact: str, stage: str) -> dict[str, Any]:
    if stage not in STAGES:
        raise batuta.FatalError(f"there is no stage {stage!r}; there are {', '.join(STAGES)}")
    path = Path(unquote(urlsplit(artifact).path))
    if path.parent.resolve() != place.folder("webapp").resolve():
        raise batuta.FatalError(f"{artifact!r} is not in the store of web applications")
    site = place.folder("sites") / stage
    part = site.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    with tarfile.open(fileobj=io.BytesIO(read_plain(path))) as archive:
        archive.extractall(part, filter="data")
    shutil.rmtree(site, ignore_errors=True)
    part.rename(site)
    return {"url": site.as_uri(), "deployed": True, "environment": stage}
