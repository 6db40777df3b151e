"""The weather report: calls, a service that is down, mended or gone, and one report per run."""

import json
import urllib.request
from typing import Any

from tests.examples.stage import Stage, attempts, weather_service


def reports(service: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{service}/reports") as answer:
        found: list[dict[str, Any]] = json.load(answer)
        return found


def test_readings_become_a_report(stage: Stage) -> None:
    with weather_service() as service, stage.workers("weather"):
        run = stage.ended(stage.start("weather_report", service=service))
        kept = reports(service)

    assert run["status"] == "COMPLETED"
    assert run["output"]["text"] == (
        "The coast had 12.6 degrees on average at 3 stations; the warmest was harbour with 13.5."
    )
    assert kept == [{"report": 1, "region": "coast", "text": run["output"]["text"], "mean": 12.6}]


def test_a_service_that_is_mended_in_time_is_asked_again(stage: Stage) -> None:
    with weather_service() as service, stage.workers("weather"):
        run = stage.ended(stage.start("weather_report", service=service, outages=2))

    assert run["status"] == "COMPLETED"
    assert attempts(run, "readings") == ["FAILED", "FAILED", "COMPLETED"]
    refused = run["tasks"][0]["outputData"]["response"]
    assert refused["statusCode"] == 503
    assert refused["body"] == {"error": "call 1: the service is being mended"}


def test_a_service_that_stays_down_fails_the_run_and_says_what_it_said(stage: Stage) -> None:
    with weather_service() as service, stage.workers("weather"):
        run = stage.ended(stage.start("weather_report", service=service, region="moon"))
        kept = reports(service)

    assert run["status"] == "FAILED"
    assert attempts(run, "readings") == ["FAILED"] * 4
    assert "there is no region 'moon'" in run["reasonForIncompletion"]
    assert kept == []


def test_a_service_that_is_gone_is_called_again_when_it_is_back(stage: Stage) -> None:
    with weather_service() as service:
        port = int(service.rsplit(":", 1)[1])
    with stage.workers("weather"):
        workflow_id = stage.start("weather_report", service=service)
        stage.wait_for_task(workflow_id, "readings", "FAILED")
        with weather_service(port):
            run = stage.ended(workflow_id)

    assert run["status"] == "COMPLETED"
    assert attempts(run, "readings")[0] == "FAILED"


def test_a_worker_that_comes_later_finds_the_task(stage: Stage) -> None:
    with weather_service() as service:
        workflow_id = stage.start("weather_report", service=service, region="hills")
        stage.wait_for_task(workflow_id, "bulletin", "SCHEDULED")
        with stage.workers("weather"):
            run = stage.ended(workflow_id)

    assert run["output"]["text"].startswith("The hills had 8.3 degrees")
