"""What commands that talk to a server share: their options, their client, how they answer."""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from batuta.cli.exit import UnreachableError, code_of, complain
from batuta.model.error import BatutaError

_Function = Callable[..., Any]

output_option = click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to print the answer.  [default: text]",
)
server_option = click.option(
    "--server", "server_url", metavar="URL", help="The server.  [http://127.0.0.1:8080/api]"
)
env_file_option = click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings as NAME=value lines.  [default: .env]",
)
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask whether to go on.")
input_option = click.option(
    "--input",
    "-i",
    "inputs",
    multiple=True,
    metavar="KEY=VALUE|JSON|@FILE",
    help="Input of the run; repeatable, later ones win.",
)


class Call:
    """A command's connection to its server, and the form in which it answers."""

    def __init__(self, flags: Mapping[str, Any], env_file: Path | None, output: str) -> None:
        from batuta.cli.client import Client
        from batuta.cli.settings import read_settings

        self.settings = read_settings(flags, env_file).settings
        self.client = Client(self.settings.server_url)
        self.is_json = output == "json"

    def show(self, document: Any, lines: Iterable[str]) -> None:
        """Print the answer: the document as JSON, or else its lines for people."""
        show(document, lines, is_json=self.is_json)

    def each(self, ids: Sequence[str], act: Callable[[str], Any], done: str) -> int:
        """Do something to each of the ids; what fails is said and does not stop the others.

        Returns:
            The exit code: 0, or that of the first failure.
        """
        code, results = 0, []
        for one in ids:
            try:
                act(one)
            except UnreachableError:
                raise
            except BatutaError as error:
                complain(error.message)
                code = code or int(code_of(error))
                results.append({"id": one, "done": None, "error": error.message})
            else:
                results.append({"id": one, "done": done})
        self.show(results, (f"{done} {result['id']}" for result in results if result["done"]))
        return code


def calls_server(function: _Function) -> _Function:
    """Give a command --server, -o and --env-file, and a ``Call`` as its first argument."""

    @server_option
    @output_option
    @env_file_option
    @functools.wraps(function)
    def command(
        *arguments: Any, server_url: str | None, output: str, env_file: Path | None, **more: Any
    ) -> Any:
        call = Call({"server_url": server_url}, env_file, output)
        try:
            return function(call, *arguments, **more)
        finally:
            call.client.close()

    return command


def show(document: Any, lines: Iterable[str], *, is_json: bool) -> None:
    """Print an answer: one JSON document, or lines for people."""
    if is_json:
        print(json_text(document, indent=2))
        return
    for line in lines:
        print(line)


def json_text(document: Any, indent: int | None = None) -> str:
    """Write JSON as the output can carry it: other than UTF-8 gets nothing but ASCII."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(document, indent=indent, ensure_ascii=not is_utf8)


def confirm(question: str, *, is_yes: bool) -> None:
    """Ask before something that cannot be undone.

    Raises:
        click.UsageError: Nobody can be asked, and --yes was not given.
        click.Abort: The answer was no.
    """
    if is_yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: give --yes if so.")
    if not click.confirm(question, err=True):
        complain("nothing was done")
        raise click.Abort
