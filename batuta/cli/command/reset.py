"""`batuta reset`: an empty database, and the old one kept."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from batuta import app
from batuta.cli.command.call import confirm
from batuta.cli.exit import complain
from batuta.cli.settings import read_settings
from batuta.model.error import InvalidError, NotFoundError
from batuta.runtime.clock import wall_ms


def reset_command(flags: Mapping[str, Any], env_file: Path | None, *, is_yes: bool) -> None:
    """Move the database that the settings name into a folder beside it, named by the time.

    Raises:
        InvalidError: It is no SQLite file.
        NotFoundError: There is none.
        StoreError: A server has it.
    """
    settings = read_settings(flags, env_file).settings
    db = settings.db
    if app.is_postgres(db):
        raise InvalidError(
            "a PostgreSQL database is not moved; name another one, or drop it with its own tools"
        )
    path = Path(db)
    if not path.exists():
        raise NotFoundError(f"there is no database {db!r}; nothing has to be reset")
    at = datetime.fromtimestamp(wall_ms() / 1_000, UTC).astimezone()
    folder = path.parent / f"{path.stem}-{at:%Y-%m-%dT%H-%M-%S}"
    confirm(f"Move {path} to {folder} and begin with an empty one?", is_yes=is_yes)
    moved = app.set_aside(path, folder)
    print(f"{path} is now {moved[0]}; to have it back, stop the server and move it here again")
    if settings.blob_folder:
        complain(f"large payloads stay in {settings.blob_folder}; the old database needs them")
