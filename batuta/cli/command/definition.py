"""`batuta def`: judge definitions, register them from files, look at, export, delete them."""

from pathlib import Path

import click

from batuta.cli.command.call import (
    Call,
    calls_server,
    confirm,
    env_file_option,
    json_text,
    output_option,
    server_option,
    yes_option,
)
from batuta.cli.help.complete import workflow_names

_version = click.option("--version", type=click.IntRange(1), help="Version of a workflow.")
_task = click.option("--task", is_flag=True, help="NAME is that of a task definition.")


@click.group("def")
def definition() -> None:
    """Judge definitions, register them from files, look at them, export and delete them."""


@definition.command()
@click.argument("paths", type=click.Path(path_type=Path), metavar="PATH...", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@calls_server
def apply(call: Call, paths: tuple[Path, ...], dry_run: bool) -> int:
    """Register the definitions of files and folders, where they are new or have changed."""
    import msgspec

    from batuta.cli.apply import apply_files

    if not paths:
        raise click.UsageError("Name the files or folders whose definitions are to be registered.")
    results, code = apply_files(call.client, paths, is_dry=dry_run)
    would = "would be " if dry_run else ""
    call.show(
        msgspec.to_builtins(results),
        (
            f"{one.kind} {one.name}{f' v{one.version}' if one.version else ''}"
            f" {would if one.result in ('created', 'updated') else ''}{one.result}"
            for one in results
        ),
    )
    return int(code)


@definition.command("list")
@calls_server
def list_(call: Call) -> None:
    """Show all definitions."""
    from batuta.cli.apply import registered
    from batuta.cli.show.style import Style
    from batuta.cli.show.table import ago, table_lines
    from batuta.runtime.clock import wall_ms

    found, now_ms = registered(call.client), wall_ms()
    rows = [
        (
            kind.removesuffix("s"),
            one["name"],
            str(one.get("version") or "-") if kind == "workflows" else "-",
            ago(one.get("updateTime") or one.get("createTime"), now_ms),
        )
        for kind, definitions in found.items()
        for one in definitions
    ]
    call.show(found, table_lines(("kind", "name", "version", "changed"), rows, Style()))


@definition.command()
@click.argument("name", shell_complete=workflow_names)
@_version
@_task
@calls_server
def get(call: Call, name: str, version: int | None, task: bool) -> None:
    """Print a definition as JSON: the latest version unless --version says another."""
    from batuta.cli.client import quoted

    query = f"?version={version}" if version else ""
    path = f"taskdefs/{quoted(name)}" if task else f"workflow/{quoted(name)}{query}"
    found = call.client.get(f"/metadata/{path}")
    call.show(found, [json_text(found, indent=2)])


@definition.command("lint")
@click.argument("targets", metavar="FILE|FOLDER|-|NAME...", nargs=-1)
@click.option("--strict", is_flag=True, help="Refuse what Conductor refuses, too.")
@click.option("--ignore", "ignored", metavar="CODE", multiple=True, help="A warning to leave out.")
@click.option("--online", is_flag=True, help="Judge files by what the server knows, too.")
@_version
@server_option
@output_option
@env_file_option
def lint_(
    targets: tuple[str, ...],
    strict: bool,
    ignored: tuple[str, ...],
    online: bool,
    version: int | None,
    server_url: str | None,
    output: str,
    env_file: Path | None,
) -> int:
    """Tell faults and warnings of definitions: of files, of - (standard input), or registered ones.

    Files need no server. With --online or --server, and always for a registered NAME, the server's
    task definitions count too, and task types that nobody polls are told. The exit code is 7 where
    a definition would be refused, 1 where there are warnings, else 0.
    """
    import msgspec

    from batuta.cli.lint.command import Wish, lint_targets
    from batuta.cli.lint.report import lines
    from batuta.cli.show.style import Style

    wish = Wish(
        targets=targets,
        version=version,
        ignored=ignored,
        is_strict=strict,
        is_online=online or server_url is not None,
    )
    call = Call({"server_url": server_url}, env_file, output)
    try:
        judged, code = lint_targets(call.client, wish, is_strict=call.settings.strict)
    finally:
        call.client.close()
    call.show(msgspec.to_builtins(judged), lines(judged, Style()))
    return int(code)


@definition.command()
@click.argument("paths", type=click.Path(path_type=Path), nargs=-1, metavar="FOLDER|FILE...")
@click.option(
    "--target",
    type=click.Choice(["conductor", "orkes"]),
    help="Make definitions for a server of this kind, without what only Batuta has.",
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=workflow_names,
    help="With --target: a registered workflow; repeatable.",
)
@_version
@click.option(
    "--output",
    "-o",
    default="text",
    metavar="text|json|DIR",
    help="How to print the answer; with --target, DIR is where to write files.  [default: text]",
)
@server_option
@env_file_option
def export(
    paths: tuple[Path, ...],
    target: str | None,
    names: tuple[str, ...],
    version: int | None,
    output: str,
    server_url: str | None,
    env_file: Path | None,
) -> None:
    """Write every definition to a file below FOLDER, as `batuta def apply` reads it.

    With --target the definitions of FILE..., of each --name, or all registered ones are made such
    that a plain Conductor server does the same: DAGs become forks, joins and switches. They are
    printed, or written below the DIR of --output. What has no plain form is refused by its name.
    """
    from batuta.cli.apply import export_files
    from batuta.cli.export.command import Wish, export_for, write

    is_printed = output in {"text", "json"}
    call = Call({"server_url": server_url}, env_file, "json" if output == "json" else "text")
    try:
        if target is None:
            if len(paths) != 1 or names or not is_printed:
                raise click.UsageError("Name one FOLDER to write to, or give --target.")
            written = [str(path) for path in export_files(call.client, paths[0])]
            call.show(written, written)
            return
        made = export_for(
            call.client, Wish(target=target, paths=paths, names=names, version=version)
        )
    finally:
        call.client.close()
    found = [*made.workflows, *made.tasks]
    if is_printed:
        print(json_text(found[0] if len(found) == 1 else found, indent=2))
    else:
        for path in write(made, Path(output)):
            print(path)


@definition.command()
@click.argument("name", shell_complete=workflow_names)
@_version
@_task
@yes_option
@calls_server
def delete(call: Call, name: str, version: int | None, task: bool, yes: bool) -> None:
    """Delete a definition; its runs go on with the one they started with."""
    from batuta.cli.client import quoted

    if task:
        what, path = f"task definition {name}", f"taskdefs/{quoted(name)}"
    else:
        if version is None:
            raise click.UsageError("Say with --version which version of the workflow, or --task.")
        what, path = f"workflow {name} v{version}", f"workflow/{quoted(name)}/{version}"
    confirm(f"Delete {what}?", is_yes=yes)
    call.client.delete(f"/metadata/{path}")
    call.show({"name": name, "version": version, "deleted": True}, [f"deleted {what}"])
