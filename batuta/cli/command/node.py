"""`batuta doctor`, `batuta reset` and `batuta completion`: this machine, without a server."""

from pathlib import Path
from typing import Any

import click

from batuta.cli.command.call import env_file_option, output_option, show, yes_option

db_option = click.option(
    "--db", metavar="PATH|URL", help="SQLite file or postgresql:// URL.  [./.batuta/batuta.db]"
)


@click.command()
@db_option
@click.option("--host", help="Address that a server would listen at.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port that it would listen at.  [default: 8080]")
@click.option("--retry", "is_retry", is_flag=True, help="Try quarantined rows again.")
@click.option("--firmware", is_flag=True, help="Tell what the list of firmware pipelines asks.")
@output_option
@env_file_option
def doctor(
    output: str, env_file: Path | None, *, is_retry: bool, firmware: bool, **flags: Any
) -> int:
    """Look for what keeps a server from working here; changes nothing but by --retry.

    Scans the database for what must not be, when no server has it. Quarantined rows are messages
    between runs and timers that failed too often: --retry has the server take them up again.
    --firmware looks at this machine instead: 19 items of `batuta verify firmware`.
    """
    if firmware:
        from batuta.cli.checklist.host import host_results
        from batuta.cli.checklist.report import document, result_lines

        results = host_results()
        show(document(results), result_lines(results), is_json=output == "json")
        return 0
    from batuta.cli.command.doctor import doctor_command

    return int(doctor_command(flags, env_file, is_json=output == "json", is_retry=is_retry))


@click.command()
@db_option
@yes_option
@env_file_option
def reset(yes: bool, env_file: Path | None, **flags: Any) -> None:
    """Begin with an empty database; the old one is moved into a dated folder beside it."""
    from batuta.cli.command.reset import reset_command

    reset_command(flags, env_file, is_yes=yes)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete batuta's commands and options."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the shells that we offer"
    print(kind(context.find_root().command, {}, "batuta", "_BATUTA_COMPLETE").source())
