"""What revision 0004 makes of texts that were stored in other forms than NFC."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Column, Engine, MetaData, Table, insert, select, text
from support.postgres import PostgresServer, open_test_engine

from app.domain.ids import ProjectId, project_id_of, source_id_of
from app.domain.jobs import JobType
from app.models import Extraction, Job, Project, Source
from app.sql import schema

NFC, NFD = "caf\u00e9", "cafe\u0301"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PROJECT = project_id_of("papers")


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'old.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name, url = server.create(migrated=False)
    yield url
    server.drop(name)


@pytest.fixture
def old_engine(empty_url: str) -> Iterator[Engine]:
    """A database at the revision before, with a project."""
    engine = open_test_engine(empty_url)
    config = schema.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        connection.execute(insert(Project).values(id=PROJECT, name="papers", created_at=NOW))
    yield engine
    engine.dispose()


def store_source(engine: Engine, uri: str, group: str | None, *, age_s: float = 0) -> uuid.UUID:
    source_id = uuid.uuid5(PROJECT, uri)  # of the spelling, as it was
    with engine.begin() as connection:
        values = {"id": source_id, "project_id": PROJECT, "uri": uri, "source_group": group}
        connection.execute(insert(Source).values(**values, created_at=NOW - timedelta(seconds=age_s)))
    return source_id


def store_extraction(engine: Engine, source_id: uuid.UUID, **values: Any) -> uuid.UUID:
    """Indexed, if ``values`` don't say otherwise."""
    given = {"extraction_type": "fact", "data": {"text": "plain"}} | values
    id_ = uuid.uuid4()
    row = {
        "id": id_,
        "project_id": PROJECT,
        "source_id": source_id,
        "created_at": NOW,
        "embedding_id": str(id_),
    }
    with engine.begin() as connection:
        connection.execute(insert(Extraction).values(row | given))
    return id_


def rows(engine: Engine, *columns: Any) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns))]


def reflected(engine: Engine, table: str) -> list[Column[Any]]:
    """The columns that a table has now."""
    return list(Table(table, MetaData(), autoload_with=engine).c)


def queued(engine: Engine) -> dict[str, list[str]]:
    """The ids of each job but the one of the words, which a later migration queues."""
    jobs = rows(engine, Job.type, Job.payload)
    return {type_: payload["extraction_ids"] for type_, payload in jobs if type_ != JobType.INDEX_WORDS}


def test_two_spellings_of_a_source_become_one_with_the_older_ones_group(old_engine: Engine) -> None:
    older = store_source(old_engine, NFD, "old", age_s=60)
    newer = store_source(old_engine, NFC, "new")
    in_older, in_newer = store_extraction(old_engine, older), store_extraction(old_engine, newer)
    schema.upgrade(old_engine)
    [source] = rows(old_engine, Source.id, Source.uri, Source.source_group)
    assert source == (source_id_of(ProjectId(PROJECT), NFC), NFC, "old")
    held = rows(old_engine, Extraction.id, Extraction.source_id)
    assert sorted(held) == sorted([(in_older, source[0]), (in_newer, source[0])])
    assert queued(old_engine) == {"update_payload": [str(in_newer)]}


def test_a_source_of_one_spelling_is_respelt(old_engine: Engine) -> None:
    extraction = store_extraction(old_engine, store_source(old_engine, NFD, None))
    schema.upgrade(old_engine)
    assert rows(old_engine, Source.uri, Source.created_at) == [(NFC, NOW)]
    assert rows(old_engine, Extraction.id, Extraction.source_id) == [
        (extraction, source_id_of(ProjectId(PROJECT), NFC))
    ]
    assert queued(old_engine) == {}


def test_groups_and_types_are_respelt_and_their_payloads_follow(old_engine: Engine) -> None:
    grouped = store_extraction(old_engine, store_source(old_engine, "a", NFD))
    plain = store_source(old_engine, "b", None)
    typed = store_extraction(old_engine, plain, extraction_type=NFD)
    store_extraction(old_engine, plain, extraction_type=NFD, embedding_id=None)
    store_extraction(old_engine, plain)
    schema.upgrade(old_engine)
    assert set(rows(old_engine, Source.uri, Source.source_group)) == {("a", NFC), ("b", None)}
    assert {type_ for (type_,) in rows(old_engine, Extraction.extraction_type)} == {"fact", NFC}
    assert queued(old_engine) == {"update_payload": sorted([str(grouped), str(typed)])}


def test_data_is_respelt_and_embedded_again(old_engine: Engine) -> None:
    source = store_source(old_engine, "a", None)
    # A combining character behind an escape: the text as a whole isn't normalised, nor may it be.
    data = {"text": NFD, NFD: ["\n\u0303", {"n": 1.0, "k": NFD}], "big": 2**62}
    respelt = store_extraction(old_engine, source, data=data)
    kept = store_extraction(old_engine, source, data={"text": NFC, "n": "\n\u0303"})
    twice = store_extraction(old_engine, source, data={"text": "both keys", NFC: 1, NFD: 2})
    schema.upgrade(old_engine)
    found = {
        id_: (data, mark)
        for id_, data, mark in rows(old_engine, Extraction.id, Extraction.data, Extraction.embedding_id)
    }
    assert found[respelt] == ({"text": NFC, NFC: ["\n\u0303", {"n": 1.0, "k": NFC}], "big": 2**62}, None)
    assert isinstance(found[respelt][0][NFC][1]["n"], float)
    assert found[kept] == ({"text": NFC, "n": "\n\u0303"}, str(kept))
    assert found[twice] == ({"text": "both keys", NFC: 1, NFD: 2}, str(twice))
    assert queued(old_engine) == {"embed": [str(respelt)]}


def test_more_rows_than_are_read_at_once(old_engine: Engine) -> None:
    source = store_source(old_engine, "a", None)
    ids = [store_extraction(old_engine, source, data={"text": f"{NFD} {n}"}) for n in range(250)]
    schema.upgrade(old_engine)
    texts = {data["text"] for (data,) in rows(old_engine, Extraction.data)}
    assert texts == {f"{NFC} {n}" for n in range(250)}
    assert queued(old_engine) == {"embed": sorted(map(str, ids))}


def test_what_was_in_normal_form_stays_as_it_is(old_engine: Engine) -> None:
    source = store_source(old_engine, NFC, NFC)
    store_extraction(old_engine, source, extraction_type=NFC, data={NFC: NFC})
    tables = ("sources", "extractions")
    before = [rows(old_engine, *reflected(old_engine, table)) for table in tables]
    columns = [[column.name for column in reflected(old_engine, table)] for table in tables]
    schema.upgrade(old_engine)
    kept = [
        [column for column in reflected(old_engine, table) if column.name in names]
        for table, names in zip(tables, columns, strict=True)
    ]
    assert [rows(old_engine, *table) for table in kept] == before
    assert queued(old_engine) == {}


def test_sources_still_go_with_their_project_and_extractions_with_their_source(old_engine: Engine) -> None:
    store_extraction(old_engine, store_source(old_engine, "a", None))
    schema.upgrade(old_engine)
    with old_engine.begin() as connection:
        connection.execute(text("DELETE FROM projects"))
    assert rows(old_engine, Source.id) == rows(old_engine, Extraction.id) == []
    with pytest.raises(Exception, match=r"(?i)foreign key"):
        store_source(old_engine, "b", None)


def test_there_and_back_and_there_again(old_engine: Engine) -> None:
    store_extraction(old_engine, store_source(old_engine, "a", None))
    schema.upgrade(old_engine)
    config = schema.alembic_config()
    with old_engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
    schema.upgrade(old_engine)
    assert len(rows(old_engine, Extraction.id)) == 1
