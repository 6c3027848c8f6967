"""The ``pg_dump`` and ``pg_restore`` commands for the configured URL."""

import shlex
from pathlib import Path

from sqlalchemy.engine import Engine

_SECRETS = {"password", "sslpassword"}
_OURS = {"client_encoding", "context", "prepare_threshold"}
"""This program's connection options that libpq doesn't know or need."""

MAGIC = b"PGDMP"
"""The first bytes of a file made by ``pg_dump --format=custom``."""


def dump_command(engine: Engine, file: Path) -> str:
    """Return the command that backs the database up to ``file``, as one snapshot, while in use."""
    return shlex.join(["pg_dump", "--format=custom", f"--file={file}", f"--dbname={conninfo(engine)}"])


def restore_command(engine: Engine, file: Path, *, overwrite: bool) -> str:
    """Return the command that restores ``file`` in one transaction.

    ``overwrite`` drops existing tables first.
    """
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
    """Return the engine's URL as a connection string for libpq's programs, without passwords.

    It is made from the arguments that SQLAlchemy passes to the driver, because libpq takes several
    hosts in no other form.
    """
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - slow to import, and not needed for SQLite

    _, given = engine.dialect.create_connect_args(engine.url)
    return make_conninfo(
        **{name: value for name, value in given.items() if name not in _SECRETS | _OURS and value is not None}
    )


def has_password(engine: Engine) -> bool:
    """Whether the URL has a password, which the commands leave out."""
    return engine.url.password is not None or bool(_SECRETS & engine.url.query.keys())
