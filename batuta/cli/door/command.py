"""`batuta dialects`: the front doors, their words, their paths and what each was asked to do."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from batuta.cli.command.call import output_option, show

if TYPE_CHECKING:
    from batuta.cli.show.style import Style
    from batuta.dialects.reference import Scenario


@click.command()
@click.argument("name", default="", metavar="[NAME]")
@output_option
def dialects(name: str, output: str) -> None:
    """Show the front doors: paths of other systems, served beside Conductor's on one port.

    Without NAME their words side by side; with it its paths, and what its users rely on.
    """
    from batuta.cli.show.style import Style
    from batuta.dialects.order import NAMES
    from batuta.dialects.reference import paths, scenarios, words

    if name and name not in NAMES:
        message = f"there is no front door {name!r}; there are {', '.join(NAMES)}"
        raise click.BadParameter(message, param_hint="NAME")
    style = Style()
    own = [one for one in scenarios() if name in ("", one.dialect)]
    routes = [one for one in paths() if name in ("", one.dialect)]
    document: dict[str, Any] = {"words": words(), "paths": routes, "scenarios": own}
    lines = _one(routes, own, style) if name else _all(NAMES, words(), own, style)
    show(msgspec.to_builtins(document), lines, is_json=output == "json")


def _all(
    names: tuple[str, ...], words: list[dict[str, str]], own: "list[Scenario]", style: "Style"
) -> Iterator[str]:
    from batuta.cli.show.table import table_lines

    head = ("the engine", *names)
    yield from table_lines(head, [list(row.values()) for row in words], style)
    yield ""
    rows = []
    for name in names:
        mine = [one for one in own if one.dialect == name]
        rows.append((name, f"{sum(not one.missing for one in mine)} of {len(mine)}", f"/d/{name}"))
    yield from table_lines(("front door", "scenarios met", "also below"), rows, style)
    yield ""
    yield "batuta dialects NAME shows its paths; batuta serve --listen 3000=NAME gives it a port"


def _one(routes: list[Any], own: "list[Scenario]", style: "Style") -> Iterator[str]:
    from batuta.cli.show.table import table_lines

    calls = [(f"{one.method} {one.path}", one.summary) for one in routes]
    yield from table_lines(("call", "what it does"), calls, style)
    yield ""
    rows = [
        (one.number, one.weight, "not met" if one.missing else "met", one.promise) for one in own
    ]
    yield from table_lines(("number", "weight", "", "what its users rely on"), rows, style)
    for one in own:
        if one.missing:
            yield f"{one.number} is not met: {one.missing}"
