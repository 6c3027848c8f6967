"""Stores of released versions, as SQL: ``tests/sql/released/VERSION.DIALECT.sql``.

``make released VERSION=0.1.0`` writes those of a release: a small store with rows in every table,
dumped from SQLite and from PostgreSQL. Tests load them and upgrade them to the newest schema.
"""

import asyncio
import re
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from app.domain.items import parse_item
from app.domain.sources import ReplaceOptions
from app.models import WORDS_INDEX, Base
from containers import Container, create_container, running
from support.following import MONDAY, TUESDAY, replace
from support.parts import FIELDS, index_all, settings_for
from support.postgres import running_server
from support.postgres_process import programs

FOLDER = Path(__file__).parents[1] / "sql" / "released"
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
DIALECTS = ("sqlite", "postgresql")
INDEXED = "price"
"""The path of data that the stores have an index on."""
FACT = "the kettle costs 35 euro"
"""The text of a fact that the stores have, in the project ``shop``."""

_RELEASED = re.compile(r"^## \[(\d+\.\d+\.\d+)\]", re.MULTILINE)
_OF_THE_WORDS = (
    "PRAGMA writable_schema",
    f'INSERT INTO "{WORDS_INDEX}',
    f"CREATE TABLE '{WORDS_INDEX}",
)
_OF_PSQL = re.compile(r"^\\.*\n", re.MULTILINE)


def fixture(version: str, dialect: str) -> Path:
    """The file with the store of that version."""
    return FOLDER / f"{version}.{dialect}.sql"


def released_versions(changelog: str, tags: str) -> set[str]:
    """The versions that have a section in the changelog or a tag (one on each line)."""
    tagged = {tag.removeprefix("v") for tag in tags.split() if re.fullmatch(r"v\d+\.\d+\.\d+", tag)}
    return tagged | set(_RELEASED.findall(changelog))


def load(file: Path, url: str) -> None:
    """Run a fixture's statements in the empty database at ``url``."""
    statements = file.read_text(encoding="utf-8")
    if make_url(url).get_backend_name() == "sqlite":
        with closing(sqlite3.connect(str(make_url(url).database))) as connection:
            connection.executescript(statements)
        return
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute(statements.encode())
    engine.dispose()


def write(version: str) -> None:
    """Write the fixtures of a version, from new stores with this version's schema."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        file = Path(folder) / "store.db"
        _make(f"sqlite:///{file}", Path(folder))
        with closing(sqlite3.connect(file)) as connection:
            dumped = "".join(f"{statement}\n" for statement in _dump_sqlite(connection))
        fixture(version, "sqlite").write_text(dumped, encoding="utf-8")
        name, url = server.create(migrated=False)
        _make(url, Path(folder))
        fixture(version, "postgresql").write_text(_dump_postgres(url), encoding="utf-8")
        server.drop(name)


def _make(url: str, folder: Path) -> None:
    settings = settings_for(folder, database={"url": url, "data_indexes": [INDEXED]})
    with running(create_container(settings), migrate=True) as container:
        asyncio.run(_fill(container))
        _require_rows(container.engine())


async def _fill(container: Container) -> None:
    await container.data_indexing().apply()
    raw = {"source_uri": "https://shop.example/kettle", "extraction_type": "offer", "metadata": {"by": "m-1"}}
    item = parse_item({**raw, "data": {"text": FACT, "price": 35}}, FIELDS)
    await container.indexing().prepare()
    await container.ingestion().accept("shop", [item])
    await replace(container, "monday", MONDAY)
    await replace(container, "tuesday", TUESDAY)
    await container.ingestion().replace("default", MONDAY, ReplaceOptions(allow_mass_delete=True), key="a-key")
    await index_all(container)
    # A job that waits during the upgrade, and a type that no worker takes.
    await container.jobs().pause("verify")
    await container.jobs().verify("shop")


def _require_rows(engine: Engine) -> None:
    with engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            found = connection.scalar(text(f"SELECT count(*) FROM {table.name}"))  # noqa: S608 - our table names
            if not found:
                raise SystemExit(f"no row in {table.name}: add to _fill() what writes one")


def _dump_sqlite(connection: sqlite3.Connection) -> Iterator[str]:
    """Dump a store so that it can be loaded.

    ``iterdump`` alone also writes the full-text table's internal tables, which can't be loaded.
    """
    query = "SELECT sql FROM sqlite_schema WHERE name = ?"
    ((words_table,),) = connection.execute(query, (WORDS_INDEX,))
    for statement in connection.iterdump():
        if statement.startswith("INSERT INTO sqlite_master"):
            yield f"{words_table};"
        elif statement == "COMMIT;":
            yield f"INSERT INTO {WORDS_INDEX} ({WORDS_INDEX}) VALUES ('rebuild');"  # noqa: S608 - our table's name
            yield statement
        elif not statement.startswith(_OF_THE_WORDS):
            yield statement


def _dump_postgres(url: str) -> str:
    connection = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    options = ("--no-owner", "--no-privileges", "--column-inserts")
    done = subprocess.run(
        [str(programs() / "pg_dump"), *options, connection], capture_output=True, text=True, check=True
    )
    # psql's own commands, which other clients can't run.
    return _OF_PSQL.sub("", done.stdout)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not re.fullmatch(r"\d+\.\d+\.\d+", sys.argv[1]):
        raise SystemExit("Name the version: make released VERSION=0.1.0")
    write(sys.argv[1])
