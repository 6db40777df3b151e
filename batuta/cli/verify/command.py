"""`batuta verify firmware`: the list of firmware pipelines, checked from beginning to end."""

from pathlib import Path

import click

from batuta.cli.command.call import output_option


@click.group()
def verify() -> None:
    """Check a whole installation, item by item."""


@verify.command()
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the results to FILE too, to be signed: .json, or else Markdown.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="ID",
    help="Only items whose number begins so, as 5.2; repeatable.",
)
@output_option
def firmware(report: Path | None, only: tuple[str, ...], output: str) -> int:
    """Check firmware pipelines: a server, workers and devices of its own, for a minute.

    Each of the list's 127 items for machines is really tried, but those that this version does not
    have, which are told apart; 19 look at this machine; 47 are for people, who sign the report.
    The exit code is 1 when an item failed.
    """
    from batuta.cli.verify.verify import verify_firmware

    return int(verify_firmware(report, only, is_json=output == "json"))
