"""`batuta token` makes a bearer token with the key that the server here uses."""

from pathlib import Path
from typing import Any

import click

from batuta.cli.command.call import env_file_option
from batuta.cli.command.node import db_option


@click.command()
@click.option("--user", required=True, metavar="NAME", help="Whose jobs its bearer has.")
@click.option("--expires", default="7d", metavar="TIME", help="As 7d, 12h, 30m.  [default: 7d]")
@db_option
@env_file_option
def token(user: str, expires: str, env_file: Path | None, **flags: Any) -> None:
    """Print a token for the jobs of class workflows.

    It is signed with BATUTA_JWT_SECRET, or with the key beside the database, which is made when
    there is none yet. A server that runs already reads the same one.
    """
    from batuta import app
    from batuta.cli.settings import read_settings
    from batuta.dialects.checkpointed.door.token import make_token, read_duration, signing_key
    from batuta.runtime.clock import wall_ms

    settings = read_settings(flags, env_file).settings
    expires_s = read_duration(expires)
    key = signing_key(settings.jwt_secret, app.data_folder(settings))
    print(make_token(key, user, now_s=wall_ms() // 1_000, expires_s=expires_s))
