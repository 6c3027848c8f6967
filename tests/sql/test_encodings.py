"""Databases with limited encodings, connections with other encodings, and SQLite in UTF-16."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from support.api import Api, raw_item, serving
from support.cli import Cli
from support.postgres import PostgresServer, open_test_engine
from support.processes import free_port

from app.domain.conditions import Compare, InData, Op
from app.errors import DatabaseEncodingUnfit
from app.intake.where_json import write_where_json
from app.intake.where_text import write_where
from app.sql import schema

pytestmark = pytest.mark.slow

PATH = "/v1/projects/papers/extractions"
TEXTS = ("plain", "caf\u00e9", "\u20ac", "\u6f22\u5b57", "\U0001f600", "\ufb01", "\u200b")
WAY_OUT = "createdb -E UTF8 -T template0"


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP"])
def unfit_url(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    """A database of that encoding."""
    options = f"ENCODING '{request.param}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    name, url = postgres_server.create_with(options)
    yield url
    postgres_server.drop(name)


def test_a_database_that_cannot_hold_every_text_is_refused(unfit_url: str) -> None:
    for url in (unfit_url, f"{unfit_url}&client_encoding=UTF8"):
        engine = open_test_engine(url)
        for use in (schema.upgrade, schema.check):
            with pytest.raises(DatabaseEncodingUnfit, match=WAY_OUT):
                use(engine)
        engine.dispose()


def test_upgrade_doctor_and_services_say_the_way_out(unfit_url: str, tmp_path: Path) -> None:
    cli = Cli(tmp_path, DATABASE_URL=unfit_url, WORKER_STARTUP_TIMEOUT="5")
    for command in (
        ("db", "upgrade"),
        ("serve", "--port", str(free_port())),
        ("worker",),
        ("projects", "list"),
    ):
        told = cli(*command, code=1).stderr.decode()
        assert WAY_OUT in " ".join(told.split()), command
        assert "Traceback" not in told
    [row] = [row for row in cli.json("doctor", code=1)["parts"] if row["part"] == "database"]
    assert WAY_OUT in row["error"]
    assert row["hint"] is None


@pytest.mark.parametrize("by", ["url", "options", "role", "environment"])
async def test_connections_speak_utf_8_whatever_else_is_wanted(
    by: str, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "environment":
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    if by == "role":
        database = make_url(postgres_url).database
        with create_engine(postgres_url, poolclass=NullPool).begin() as connection:
            connection.execute(text(f'ALTER DATABASE "{database}" SET client_encoding = LATIN1'))
    added = {"url": "&client_encoding=latin1", "options": "&options=-c%20client_encoding%3Dlatin1"}.get(by, "")
    engine = open_test_engine(postgres_url + added)
    async with serving(tmp_path, engine=engine) as api:
        await assert_keeps_every_text(api)
    engine.dispose()


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
async def test_sqlite_in_utf_16_answers_as_in_utf_8(encoding: str, tmp_path: Path) -> None:
    """Only ASCII is ordered: ids, times and project names."""
    file = tmp_path / "utf16.db"
    with sqlite3.connect(file) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE makes_the_file (x)")
        connection.execute("DROP TABLE makes_the_file")
    connection.close()
    engine = open_test_engine(f"sqlite:///{file}")
    schema.upgrade(engine)
    with engine.connect() as opened:
        assert opened.scalar(text("PRAGMA encoding")) == encoding
    async with serving(tmp_path, engine=engine) as api:
        await assert_keeps_every_text(api)
    engine.dispose()


async def assert_keeps_every_text(api: Api) -> None:
    """Stored, listed page by page, found by filters and by search, and deleted."""
    items = [
        raw_item(
            n, source_uri=each, source_group=each, extraction_type=each, data={"fact_text": each, each: each}
        )
        for n, each in enumerate(TEXTS)
    ]
    accepted = await api.accepted(items)
    ids = sorted(each["id"] for each in accepted["items"])
    await api.work()
    listed, page = [], await api.get(PATH, limit=2)
    listed += page["items"]
    while page["next_cursor"] is not None:
        page = await api.get(PATH, limit=2, cursor=page["next_cursor"])
        listed += page["items"]
    assert [each["id"] for each in listed] == ids
    for each in TEXTS:
        condition = Compare(InData((each,)), Op.EQ, each)
        for filters in (
            {"source_groups": each},
            {"extraction_types": each},
            {"where": write_where(condition)},
        ):
            [found] = (await api.get(PATH, **filters))["items"]
            assert (found["source"]["uri"], found["source"]["group"]) == (each, each)
        query = {"query": each, "where": write_where_json(condition), "source_groups": [each]}
        [hit] = (await api.post("/v1/projects/papers/search", query))["items"]
        assert hit["extraction"]["data"] == {"fact_text": each, each: each}
    for name in ("b", "A", "a"):
        await api.post("/v1/projects", {"name": name}, status=201)
    names = [each["name"] for each in (await api.get("/v1/projects"))["items"]]
    assert names == ["A", "a", "b", "papers"]
