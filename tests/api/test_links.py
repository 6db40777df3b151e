"""The links of the OpenAPI document: what can be called with what an answer names."""

import re
from typing import Any

from batuta.api.openapi import describe
from batuta.api.routes import ROUTES


def _operations() -> dict[str, tuple[str, dict[str, Any]]]:
    found = {}
    for path, methods in describe(ROUTES)["paths"].items():
        for operation in methods.values():
            found[operation["operationId"]] = (path, operation)
    return found


def _links(operation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    answers = operation["responses"].values()
    return {name: link for answer in answers for name, link in answer.get("links", {}).items()}


def test_every_link_names_an_operation_and_what_is_in_its_path() -> None:
    operations = _operations()
    links = [link for _, operation in operations.values() for link in _links(operation).values()]

    assert len(links) > 100
    for link in links:
        path, _ = operations[link["operationId"]]
        assert set(link.get("parameters", {})) <= set(re.findall(r"{(\w+)}", path)), link


def test_a_run_that_was_started_can_be_read_steered_and_removed() -> None:
    _, start = _operations()["post_api_workflow_name"]
    links = _links(start)

    for name in (
        "get_api_workflow_workflowId",
        "put_api_workflow_workflowId_pause",
        "post_api_workflow_workflowId_retry",
        "delete_api_workflow_workflowId",
        "delete_api_workflow_workflowId_remove",
    ):
        assert links[name]["parameters"] == {"workflowId": "$response.body"}


def test_a_polled_task_can_be_reported() -> None:
    _, poll = _operations()["get_api_tasks_poll_taskType"]

    body = _links(poll)["post_api_tasks"]["requestBody"]

    assert body["taskId"] == "$response.body#/taskId"
