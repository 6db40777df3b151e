"""Flows to begin with: files of this package, each a body of POST /workflow/run with a word on it.

All of them are read when the server starts: no request names a path of the file system.
"""

from pathlib import Path
from typing import Any

import msgspec

_FOLDER = Path(__file__).parent / "templates"


class Template(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A flow that can be posted as it is."""

    name: str = ""
    """By which it is asked for: its file's."""
    description: str
    workflow_name: str
    nodes: list[dict[str, Any]]


class TemplateLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A template in a list."""

    name: str
    description: str
    workflow_name: str
    node_count: int


def templates() -> dict[str, Template]:
    """Return the templates by name."""
    found = {
        path.stem: msgspec.json.decode(path.read_bytes(), type=Template)
        for path in sorted(_FOLDER.glob("*.json"))
    }
    return {name: msgspec.structs.replace(one, name=name) for name, one in found.items()}


def line_of(template: Template) -> TemplateLine:
    """Return a template as a line of a list."""
    return TemplateLine(
        name=template.name,
        description=template.description,
        workflow_name=template.workflow_name,
        node_count=len(template.nodes),
    )
