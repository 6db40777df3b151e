"""The items of a check list, and what became of each. The list is data: `firmware.json`."""

from importlib import resources
from typing import Literal

import msgspec

Class = Literal["auto", "sim", "host", "hardware", "external", "org"]
State = Literal["passed", "failed", "absent", "host", "by hand"]


class CheckError(Exception):
    """The item does not hold; the message says what was found instead."""


class AbsentError(Exception):
    """What the item asks for is not in this version, or cannot be looked at here."""


class Item(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "class"}):
    """A line of the list.

    ``kind``: auto and sim are checked here, host looks at this machine, the others are for
    people. ``check``: the name of its function; several items may share one, which ``of`` tells
    apart.
    """

    id: str
    phase: str
    kind: Class
    text: str
    check: str = ""
    of: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an item, and what was seen."""

    item: Item
    state: State
    text: str


def read_items() -> list[Item]:
    """Return the list of firmware pipelines, in order."""
    content = resources.files("batuta.cli.checklist").joinpath("firmware.json").read_bytes()
    return msgspec.json.decode(content, type=list[Item])
