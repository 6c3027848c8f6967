"""The commands of PostgreSQL's own that back a database up and restore it, for the configured URL."""

import shlex
from pathlib import Path

from sqlalchemy.engine import Engine

_SECRETS = {"password", "sslpassword"}
_OURS = {"client_encoding", "context", "prepare_threshold"}
"""What the connections of this program are made with, and no libpq knows or needs."""

MAGIC = b"PGDMP"
"""How a file begins that ``pg_dump --format=custom`` has made."""


def dump_command(engine: Engine, file: Path) -> str:
    """What backs the database up to ``file``; one consistent state, while everything runs."""
    return shlex.join(["pg_dump", "--format=custom", f"--file={file}", f"--dbname={conninfo(engine)}"])


def restore_command(engine: Engine, file: Path, *, overwrite: bool) -> str:
    """What restores ``file``, all of it or nothing; with ``overwrite``, in the place of what is there."""
    over = ["--clean", "--if-exists"] if overwrite else []
    return shlex.join(
        [
            "pg_restore",
            "--single-transaction",
            "--exit-on-error",
            "--no-owner",
            *over,
            f"--dbname={conninfo(engine)}",
            str(file),
        ]
    )


def conninfo(engine: Engine) -> str:
    """The connection of the engine's URL as libpq's programs take it, without passwords.

    As SQLAlchemy hands it to the driver: of a URL with several servers, libpq takes no other
    spelling.
    """
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - slow to import, and not needed for SQLite

    _, given = engine.dialect.create_connect_args(engine.url)
    return make_conninfo(
        **{name: value for name, value in given.items() if name not in _SECRETS | _OURS and value is not None}
    )


def has_password(engine: Engine) -> bool:
    """Whether the URL holds a password, which the commands leave out."""
    return engine.url.password is not None or bool(_SECRETS & engine.url.query.keys())
