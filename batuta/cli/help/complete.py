"""What a shell offers for names and ids: what the server has, and nothing where none answers."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import click

from batuta.config import load_settings
from batuta.model.error import BatutaError

OFFERED = 50  # runs, the newest; more is no choice
ANSWER_S = 1.0  # whoever presses the tab key does not wait longer


def run_ids(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Offer the newest runs."""
    path = f"/workflow/search-v2?size={OFFERED}"
    return _asked(
        context, path, begun, lambda found: (run["workflowId"] for run in found["results"])
    )


def workflow_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Offer the names of the registered workflows; of the task definitions after --task."""
    path = "/metadata/taskdefs" if context.params.get("task") else "/metadata/workflow"
    return _asked(context, path, begun, lambda found: (one["name"] for one in found))


def _asked(
    context: click.Context, path: str, begun: str, pick: Callable[[Any], Iterable[Any]]
) -> list[str]:
    from batuta.cli.client import Client

    flags = {"server_url": context.params.get("server_url")}
    try:
        loaded = load_settings(flags, os.environ, env_file=context.params.get("env_file"))
        client = Client(loaded.settings.server_url, answer_s=ANSWER_S)
        try:
            names = {str(name) for name in pick(client.get(path))}
        finally:
            client.close()
    except (BatutaError, KeyError, TypeError):  # no server, or something else that answers there
        return []
    return sorted(name for name in names if name.startswith(begun))
