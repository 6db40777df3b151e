"""The commands, their options and their help. What they do stands in the other files.

Those are imported by the command that needs them, so that `batuta --help` is there at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from batuta import __version__
from batuta.cli.exit import ExitCode, code_of, complain
from batuta.model.error import BatutaError

app = typer.Typer(
    name="batuta",
    help="A durable workflow engine that speaks Conductor's REST API.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # rich costs a tenth of a second at each start
    pretty_exceptions_enable=False,
)

Host = Annotated[str | None, typer.Option(help="Address to listen at.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port to listen at.", show_default="8080")]
Db = Annotated[
    str | None,
    typer.Option(metavar="PATH|URL", help="SQLite file or postgresql:// URL.", show_default=False),
]
Load = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="File or folder of definitions to register; repeatable."),
]
Modules = Annotated[
    list[str] | None,
    typer.Option(metavar="MODULE", help="Module of task functions to run here; repeatable."),
]
AllowRemote = Annotated[
    bool | None,
    typer.Option(
        "--allow-remote", help="Listen where other machines reach it.", show_default=False
    ),
]
Server = Annotated[
    str | None,
    typer.Option(metavar="URL", help="The server.", show_default="http://127.0.0.1:8080/api"),
]
EnvFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Settings as NAME=value lines.", show_default=".env"),
]
LogLevel = Annotated[
    str | None, typer.Option(help="debug, info, warning or error.", show_default="info")
]


def _show_version(value: bool) -> None:
    if value:
        print(f"batuta {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """A durable workflow engine that speaks Conductor's REST API."""


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    db: Db = None,
    load: Load = None,
    workers: Modules = None,
    allow_remote: AllowRemote = None,
    log_level: LogLevel = None,
    env_file: EnvFile = None,
) -> None:
    """Start the server; Ctrl-C or SIGTERM stops it."""
    from batuta.cli.serve import serve_command

    flags = {"host": host, "port": port, "db": db, "allow_remote": allow_remote}
    serve_command(flags | {"log_level": log_level}, env_file, load or [], workers or [])


@app.command()
def worker(
    modules: Annotated[list[str], typer.Argument(metavar="MODULE...", help="Task functions.")],
    server: Server = None,
    worker_id: Annotated[
        str | None, typer.Option(help="Shown with its tasks.", show_default="host and process")
    ] = None,
    log_level: LogLevel = None,
    env_file: EnvFile = None,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True)] = False,
) -> None:
    """Run task functions against a server, which may come and go."""
    from batuta.cli.worker import worker_command

    flags = {"server_url": server, "log_level": log_level}
    worker_command(
        flags, env_file, modules, worker_id=worker_id, is_until_stdin_ends=until_stdin_ends
    )


@app.command()
def run(
    definition: Annotated[
        str, typer.Argument(metavar="FILE", help="Definition file, or a registered name.")
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="KEY=VALUE|JSON|@FILE", help="Input of the run; repeatable."
        ),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it until it ends.")] = False,
    version: Annotated[
        int | None, typer.Option(help="Version of a registered name.", show_default="latest")
    ] = None,
    correlation_id: Annotated[str | None, typer.Option(help="Your own id for it.")] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Watch no longer than this.")
    ] = None,
    server: Server = None,
    env_file: EnvFile = None,
) -> None:
    """Start a run and print its id; with --watch the exit code says how it ended."""
    from batuta.cli.run import Request, run_command

    request = Request(
        definition=definition, inputs=inputs or [], version=version, correlation_id=correlation_id
    )
    run_command({"server_url": server}, env_file, request, is_watched=watch, timeout_s=timeout)


@app.command()
def migrate(db: Db = None, env_file: EnvFile = None) -> None:
    """Bring the database to this version's schema."""
    from batuta.cli.serve import migrate_command

    migrate_command({"db": db}, env_file)


@app.command()
def config(
    env_file: EnvFile = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="Print the reference page instead.")
    ] = False,
) -> None:
    """Show every setting with its value and where it came from."""
    from batuta.cli.settings import config_command

    config_command(env_file, is_reference=reference)


@app.command()
def demo(
    port: Port = None,
    db: Db = None,
    once: Annotated[bool, typer.Option("--once", help="Stop when the run has ended.")] = False,
    env_file: EnvFile = None,
) -> None:
    """Start a server with the example pipelines and run one of them."""
    from batuta.cli.demo import demo_command

    demo_command({"port": port, "db": db}, env_file, is_once=once)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; errors are one line and no traceback."""
    code: Any
    try:
        code = app(arguments, standalone_mode=False)
    except BatutaError as error:
        complain(error.message)
        code = code_of(error)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; there is nobody to tell
        code = ExitCode.DONE
    except Exception as error:  # noqa: BLE001 - the parser's, or a bug of ours
        code = _usage_code(error)
    sys.exit(int(code) if isinstance(code, int) else 0)


def _usage_code(error: Exception) -> int:
    """Show an error of the command line parser; anything else is our bug: with traceback."""
    show = getattr(error, "show", None)
    if type(error).__name__ == "Abort":
        return ExitCode.INTERRUPTED
    if show is None:
        raise error
    show()
    return int(getattr(error, "exit_code", ExitCode.USAGE))
