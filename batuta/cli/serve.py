"""`batuta serve` and `batuta migrate`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from batuta import app
from batuta.cli.exit import complain
from batuta.cli.file import Definitions, read_definitions
from batuta.cli.process import check_port, prepare_database, run_loop, set_up_log
from batuta.cli.settings import masked, read_settings
from batuta.config import Settings, check_binding
from batuta.workers.function import TaskFunction, concurrent
from batuta.workers.module import load_modules


def serve_command(
    flags: Mapping[str, Any],
    env_file: Path | None,
    paths: Sequence[Path],
    modules: Sequence[str],
) -> None:
    """Register the definitions, start the server with its workers, and stay until a signal."""
    loaded = read_settings(flags, env_file)
    settings = loaded.settings
    idle = ", ".join(one.source for one in loaded.unused if not one.unused.is_needless)
    if idle:
        complain(f"set, and not used in this version: {idle}; `batuta config` says for what")
    check_binding(settings)
    definitions = read_definitions(paths)
    loaded_modules = load_modules(modules)
    functions = concurrent(loaded_modules.tasks, settings.worker_concurrency)
    set_up_log(settings.log_level)
    for port in filter(None, (settings.port, *app.alias_ports(settings))):
        check_port(settings.host, port)
    prepare_database(settings)
    if loaded.sources["db"].startswith("PGHOST"):  # may have been meant for other programs
        complain(f"runs are kept in {masked(settings.db)}, as {loaded.sources['db']} says")
    run_loop(_serve(settings, definitions, functions, loaded_modules.functions))


def migrate_command(flags: Mapping[str, Any], env_file: Path | None) -> None:
    """Bring the database to this version's schema; SQLite also does so when it is served."""
    settings = read_settings(flags, env_file).settings
    set_up_log(settings.log_level)
    prepare_database(settings)
    run_loop(_migrate(settings))


async def load_definitions(settings: Settings, definitions: Definitions) -> None:
    """Register definitions before anybody can ask for them: task definitions first.

    Raises:
        InvalidError: One breaks a rule; names all faults of all of them.
    """
    if not definitions.workflows and not definitions.tasks:
        return
    async with app.open_engine(settings) as engine:
        if definitions.tasks:
            await engine.definitions.put_task_defs(definitions.tasks)
        if definitions.workflows:
            await engine.definitions.put_workflow_defs(definitions.workflows, overwrite=True)


async def _serve(
    settings: Settings,
    definitions: Definitions,
    functions: Sequence[TaskFunction],
    of_steps: Mapping[str, Callable[..., Any]],
) -> None:
    await load_definitions(settings, definitions)

    async def announce(url: str, news: Sequence[str]) -> None:
        print(f"batuta serves at {url} (API at {url}/api); Ctrl-C stops it", flush=True)
        if functions:
            names = ", ".join(sorted(function.task_type for function in functions))
            print(f"tasks done in this process: {names}", flush=True)
        for line in news:
            print(line, flush=True)

    await app.serve(settings, workers=functions, functions=of_steps, on_ready=announce)


async def _migrate(settings: Settings) -> None:
    await app.migrate(settings)
    print(f"{masked(settings.db)} has the schema of this version")
