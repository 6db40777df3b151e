"""The commands, their options and their help. What they do stands in the other files.

Those are imported by the command that needs them, so that `batuta --help` is there at once. Click
itself, not a layer over it: it is loaded by the HTTP server anyway, and typer brings pydantic and
rich with it (0.17 s of each start and 11 MB of the server's memory, measured).
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

from batuta import __version__
from batuta.cli.command.call import env_file_option as _env_file
from batuta.cli.command.call import input_option as _input
from batuta.cli.command.call import output_option, show
from batuta.cli.command.call import server_option as _server
from batuta.cli.command.definition import definition
from batuta.cli.command.node import completion, doctor, reset
from batuta.cli.command.node import db_option as _db
from batuta.cli.command.operation import workflow
from batuta.cli.command.server import logs, status, why
from batuta.cli.command.task import queue, task
from batuta.cli.door.command import dialects
from batuta.cli.exit import ExitCode, code_of, complain
from batuta.cli.help.example import add_examples
from batuta.cli.help.flag import add_setting_flags
from batuta.cli.show.stream import abandon, prepare
from batuta.cli.token.command import token
from batuta.cli.verify.command import verify
from batuta.model.error import BatutaError, InvalidError

_WIDTH = 100  # columns of the help, where the terminal has them

_host = click.option("--host", help="Address to listen at.  [default: 127.0.0.1]")
_port = click.option("--port", type=int, help="Port to listen at.  [default: 8080]")
_log_level = click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")


@click.group(context_settings={"max_content_width": _WIDTH, "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="batuta %(version)s")
def cli() -> None:
    """A durable workflow engine that speaks Conductor's REST API."""


@cli.command()
@_host
@_port
@_db
@click.option(
    "--load",
    "paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="File or folder of definitions to register; repeatable.",
)
@click.option(
    "--workers",
    "modules",
    multiple=True,
    metavar="MODULE",
    help="Module of task functions to run in this process; repeatable.",
)
@click.option(
    "--allow-remote",
    is_flag=True,
    default=None,
    help="Listen where other machines reach it; there are no keys yet.",
)
@_log_level
@_env_file
def serve(
    paths: tuple[Path, ...], modules: tuple[str, ...], env_file: Path | None, **flags: Any
) -> None:
    """Start the server; Ctrl-C or SIGTERM stops it."""
    from batuta.cli.serve import serve_command

    serve_command(flags, env_file, paths, modules)


@cli.command()
@click.argument("modules", nargs=-1, metavar="MODULE...")
@click.option(
    "--dialect",
    "dialects",
    type=click.Choice(["dag"]),
    multiple=True,
    help="Do the tasks of a front door: dag, the nodes of graphs.",
)
@_server
@click.option("--worker-id", help="Shown with its tasks.  [default: host and process]")
@_log_level
@_env_file
@click.option("--until-stdin-ends", is_flag=True, hidden=True)
def worker(
    modules: tuple[str, ...],
    dialects: tuple[str, ...],
    env_file: Path | None,
    until_stdin_ends: bool,
    **flags: Any,
) -> None:
    """Run the task functions of MODULE... against a server, which may come and go.

    MODULE is named as in an import, or is the path of a .py file.
    """
    from batuta.cli.worker import worker_command

    if not modules and not dialects:
        raise click.UsageError("Missing argument 'MODULE...', or --dialect.")
    worker_command(flags, env_file, modules, dialects, is_until_stdin_ends=until_stdin_ends)


@cli.command()
@click.argument("definition", metavar="FILE")
@_input
@click.option("--watch", "-w", is_flag=True, help="Show it until it ends.")
@click.option("--version", type=int, help="Version of a registered name.  [default: the latest]")
@click.option("--correlation-id", help="An id of your own for it.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Watch no longer than this.")
@_server
@_env_file
def run(
    definition: str,
    inputs: tuple[str, ...],
    watch: bool,
    version: int | None,
    correlation_id: str | None,
    timeout: float | None,
    env_file: Path | None,
    **flags: Any,
) -> int:
    """Start a run and print its id.

    FILE holds a workflow definition, which is registered if the server does not have it, or is the
    name of a registered one. With --watch the output is printed too, and the exit code says how the
    run ended.
    """
    from batuta.cli.run import Request, run_command

    request = Request(
        definition=definition, inputs=inputs, version=version, correlation_id=correlation_id
    )
    return run_command(flags, env_file, request, is_watched=watch, timeout_s=timeout)


@cli.command()
@_db
@_env_file
def migrate(env_file: Path | None, **flags: Any) -> None:
    """Bring the database to this version's schema."""
    from batuta.cli.serve import migrate_command

    migrate_command(flags, env_file)


@cli.command()
@_env_file
@output_option
@click.option("--reference", is_flag=True, help="Print the reference page instead.")
@click.option("--env-example", is_flag=True, help="Print a .env file to begin with instead.")
def config(env_file: Path | None, output: str, reference: bool, env_example: bool) -> None:
    """Show every setting with its value and where it came from; secrets are masked."""
    from batuta.cli import settings

    if reference or env_example:
        print(settings.reference_page() if reference else settings.env_example(), end="")
        return
    show(*settings.config_report(env_file), is_json=output == "json")


@cli.command()
@_port
@_db
@click.option("--once", is_flag=True, help="Stop when the run has ended.")
@_env_file
def demo(env_file: Path | None, once: bool, **flags: Any) -> int:
    """Start a server with the example pipelines and run one of them."""
    from batuta.cli.demo import demo_command

    return demo_command(flags, env_file, is_once=once)


for _command in (
    workflow,
    task,
    queue,
    definition,
    why,
    status,
    logs,
    doctor,
    reset,
    token,
    dialects,
    verify,
    completion,
):
    cli.add_command(_command)

add_setting_flags(serve, "serve")
add_setting_flags(worker, "worker")
add_examples(cli)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; errors are one line and no traceback."""
    prepare()
    try:
        code = _invoke(sys.argv[1:] if arguments is None else arguments) or ExitCode.DONE
        sys.stdout.flush()  # here, where a reader that has gone or a full disk can be told
    except BatutaError as error:
        complain(error.message)
        for fault in error.faults if isinstance(error, InvalidError) else ():
            if fault.message not in error.message:
                complain(f"{fault.path}: {fault.message}")
        code = code_of(error)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, EOFError, click.Abort):
        if sys.stderr.isatty():
            print(file=sys.stderr)  # after the terminal's ^C
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read us has what was wanted
        abandon()
        code = ExitCode.DONE
    except OSError as error:  # a full disk, a port that was taken in this moment
        complain(str(error))
        abandon()
        code = ExitCode.UNEXPECTED
    sys.exit(int(code))


def _invoke(arguments: list[str]) -> int | None:
    """Run a command; not by click's own way, which ends the process when a pipe is closed."""
    complete = os.environ.get("_BATUTA_COMPLETE")
    if complete:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "batuta", "_BATUTA_COMPLETE", complete)
    try:
        with cli.make_context("batuta", arguments) as context:
            code: int | None = cli.invoke(context)
            return code
    except click.exceptions.Exit as end:  # --help and --version
        return end.exit_code
