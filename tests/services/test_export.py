"""Exports: ingesting one gives the same facts; pages are small, complete and in order."""

import asyncio
import csv
import gzip
import io
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.odd_facts import odd_fact
from support.parts import FIELDS, make_item, open_container
from support.plans import plan
from support.wheres import where

from app.domain.export import (
    ExportFormat,
    ExportPage,
    ExportRow,
    ExportRows,
    read_export_cursor,
    write_export_cursor,
)
from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, parse_extraction_id, project_id_of
from app.domain.items import parse_item
from app.errors import ExtraMissing, InvalidField, NotFound
from app.intake.exact_json import decode
from app.services.export.formats import encoder_of
from app.services.storage.repositories.exportable import rows_to_export, statement_to_export
from containers import Container

PROJECT = "papers"


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


async def store(container: Container, raws: Sequence[dict[str, Any]], project: str = PROJECT) -> None:
    for start in range(0, len(raws), 500):
        items = [parse_item(raw, FIELDS) for raw in raws[start : start + 500]]
        await container.ingestion().accept(project, items)


async def pages_of(container: Container, filters: Filters = ANY, after: str | None = None) -> list[ExportPage]:
    return [page async for page in container.export().pages(PROJECT, filters, after=after)]


def rows_of(pages: Sequence[ExportPage]) -> ExportRows:
    return [row for page in pages for row in page.rows]


async def exported(container: Container, form: ExportFormat = ExportFormat.JSONL, **options: Any) -> bytes:
    encoder = encoder_of(form, **options)
    return b"".join([encoder.page(page.rows) for page in await pages_of(container)]) + encoder.end()


async def in_sql(container: Container) -> list[tuple[Any, ...]]:
    """All that was handed in, as SQL has it, by id; ``repr`` tells -0.0 from 0, and 1 from 1.0."""
    rows = await container.extractions().list(PROJECT, ANY, limit=100_000)
    return [
        (row.id, row.project_id, row.source_id, row.source_uri, row.source_group, row.extraction_type, *values)
        for row in rows
        for values in [map(repr, (row.confidence, row.metadata, row.data))]
    ]


# --- there and back -------------------------------------------------------------------------------


async def test_a_round_trip_over_both_databases_changes_nothing(
    tmp_path: Path, sqlite_engine: Engine, postgres_engine: Engine
) -> None:
    facts = [odd_fact(number) for number in range(3_000)]

    @contextmanager
    def opened(name: str, **parts: Any) -> Iterator[Container]:
        (tmp_path / name).mkdir()
        with open_container(tmp_path / name, **parts) as container:
            yield container

    with (
        opened("first", engine=sqlite_engine) as first,
        opened("second", engine=postgres_engine) as second,
        opened("third") as third,
    ):
        await store(first, facts)
        before = await in_sql(first)
        assert len(before) == 3_000
        for source, target in ((first, second), (second, third)):
            lines = await exported(source)
            await store(target, [decode(line) for line in lines.splitlines(keepends=True)])  # type: ignore[misc]  # it is an object, or isn't accepted
            assert await in_sql(target) == before
            assert await exported(target) == lines


# --- pages ----------------------------------------------------------------------------------------


async def test_pages_have_a_fixed_order_and_any_cursor_goes_on(container: Container) -> None:
    await container.ingestion().accept(PROJECT, [make_item(number) for number in range(2_500)])
    await container.ingestion().accept("other", [make_item(number) for number in range(10)])
    pages = await pages_of(container)
    assert [len(page.rows) for page in pages] == [1_000, 1_000, 500]
    rows = rows_of(pages)
    assert [row.id for row in rows] == sorted({row.id for row in rows})
    assert len(rows) == 2_500
    for place, page in enumerate(pages[:-1]):
        rest = rows_of(pages[place + 1 :])
        assert rows_of(await pages_of(container, after=page.cursor)) == rest
    assert pages[-1].cursor is None
    small = await container.export().page(PROJECT, limit=7, after=pages[0].cursor)
    assert small.rows == rows[1_000:1_007]


async def test_filters_hold_for_each_page(container: Container) -> None:
    await container.ingestion().accept(PROJECT, [make_item(number) for number in range(2_500)])
    filters = Filters(extraction_types=("claim",), source_groups=("group-1",), where=where({"meta.lang": "en"}))
    found = {row.id for row in rows_of(await pages_of(container, filters))}
    expected = await container.extractions().list(PROJECT, filters, limit=10_000)
    assert found == {str(row.id) for row in expected}
    assert len(found) > 100


async def test_a_page_of_large_facts_ends_early(container: Container) -> None:
    size = 4 * 2**20
    large = [
        parse_item(
            {
                "source_uri": "doc:large",
                "extraction_type": "fact",
                "data": {"fact_text": f"{n}", "s": ["ü" * 900_000] * 2},
            },
            FIELDS,
        )
        for n in range(8)
    ]
    small = [make_item(number) for number in range(300)]
    for item in large:
        await container.ingestion().accept(PROJECT, [item])
    await container.ingestion().accept(PROJECT, small)
    pages = await pages_of(container)
    rows = rows_of(pages)
    assert len({row.id for row in rows}) == len(rows) == 308
    for page in pages:
        assert sum(len(row.data.encode()) for row in page.rows) < 8 * 2**20 + size
    assert len(pages) > 2


async def test_a_project_without_extractions_is_one_empty_page(container: Container) -> None:
    await container.runs().begin(PROJECT, "nothing")
    assert await pages_of(container) == [ExportPage([], None)]
    assert await exported(container) == b""
    assert await exported(container, ExportFormat.CSV) == ",".join(ExportRow._fields).encode() + b"\r\n"
    with pytest.raises(NotFound):
        await anext(container.export().pages("nowhere"))


async def test_what_stays_comes_exactly_once_while_others_write(container: Container) -> None:
    await container.ingestion().accept(PROJECT, [make_item(number) for number in range(3_000)])
    stay = {row.id for row in rows_of(await pages_of(container)) if int(row.id[:2], 16) % 2}
    found: list[str] = []
    others = 3_000
    async for page in container.export().pages(PROJECT):
        found += [row.id for row in page.rows]
        items = [make_item(number) for number in range(others, others + 500)]
        others += 500
        await container.ingestion().accept(PROJECT, items)
        going = [row.id for row in page.rows if row.id not in stay]
        await container.extractions().delete_batch(PROJECT, going)
    assert found == sorted(set(found))
    assert stay <= set(found)


async def test_a_page_is_of_one_state(container: Container) -> None:
    """Each state has one source in one group, so a page of two states would have two groups."""
    facts = [f"fact {number}" for number in range(900)]

    async def regroup(group: str) -> None:
        raws = [
            {
                "source_uri": "doc:1",
                "source_group": group,
                "extraction_type": "fact",
                "confidence": float(len(group)) / 100,
                "data": {"fact_text": fact},
            }
            for fact in facts
        ]
        await container.ingestion().accept(PROJECT, [parse_item(raw, FIELDS) for raw in raws])

    async def write() -> None:
        for number in range(6):
            await regroup("g" * (number + 1))

    await regroup("first")
    writing = asyncio.create_task(write())
    while not writing.done():
        page = await container.export().page(PROJECT)
        assert len({(row.source_group, row.confidence) for row in page.rows}) == 1
    await writing


# --- cursors --------------------------------------------------------------------------------------


def test_a_cursor_carries_the_project_and_the_place() -> None:
    place = ExtractionId(parse_extraction_id("ffffffff-ffff-5fff-8fff-ffffffffffff"))
    cursor = write_export_cursor(project_id_of(PROJECT), place)
    assert read_export_cursor(cursor, project_id_of(PROJECT)) == place
    with pytest.raises(InvalidField, match="another project"):
        read_export_cursor(cursor, project_id_of("other"))


@pytest.mark.parametrize("cursor", ["", "x", "é", "a" * 42, "a" * 44, "a" * 43 + "\n", "=" * 43, "a b" * 14])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidField, match="isn't the cursor of an export"):
        read_export_cursor(cursor, project_id_of(PROJECT))


async def test_a_cursor_of_another_project_is_refused_by_every_call(container: Container) -> None:
    for project in (PROJECT, "other"):
        await container.ingestion().accept(project, [make_item(1)])
    cursor = write_export_cursor(project_id_of("other"), ExtractionId(project_id_of("other")))
    for call in (
        container.export().page(PROJECT, after=cursor),
        anext(container.export().pages(PROJECT, after=cursor)),
    ):
        with pytest.raises(InvalidField, match="another project"):
            await call


# --- formats --------------------------------------------------------------------------------------


async def stored_odd(container: Container) -> list[ExportRow]:
    await store(container, [odd_fact(number) for number in range(200)])
    return rows_of(await pages_of(container))


async def test_a_line_names_only_what_there_is(container: Container) -> None:
    await store(
        container, [{"source_uri": "doc:1", "extraction_type": "fact", "data": {"text": "x", "none": None}}]
    )
    assert await exported(container) == (
        b'{"source_uri":"doc:1","extraction_type":"fact","data":{"text":"x","none":null}}\n'
    )


async def test_csv_and_parquet_have_every_value(container: Container) -> None:
    rows = await stored_odd(container)
    table = list(csv.reader(io.StringIO((await exported(container, ExportFormat.CSV)).decode(), newline="")))
    assert tuple(table[0]) == ExportRow._fields
    assert table[1:] == [["" if value is None else str(value) for value in row] for row in rows]
    goes_on = await exported(container, ExportFormat.CSV, goes_on=True)
    assert list(csv.reader(io.StringIO(goes_on.decode(), newline=""))) == table[1:]
    parquet = pyarrow.parquet.read_table(io.BytesIO(await exported(container, ExportFormat.PARQUET)))
    assert tuple(parquet.column_names) == ExportRow._fields
    assert [ExportRow(**row) for row in parquet.to_pylist()] == rows
    assert [orjson.loads(row.data) for row in rows] == [
        row.data for row in await container.extractions().list(PROJECT, ANY, limit=1_000)
    ]


async def test_gzip_is_the_same_compressed(container: Container) -> None:
    await stored_odd(container)
    compressed = await exported(container, gzipped=True)
    assert gzip.decompress(compressed) == await exported(container)
    with pytest.raises(EOFError):
        gzip.decompress(compressed[:-1])


def test_parquet_without_its_extra_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # as if it weren't installed
    with pytest.raises(ExtraMissing, match=r"agent-storage\[parquet\]"):
        encoder_of(ExportFormat.PARQUET)


def test_large_parquet_has_several_row_groups() -> None:
    data = orjson.dumps({"text": "x" * 2**20}).decode()
    rows = [ExportRow(f"{number}", "doc:1", None, "fact", None, None, data) for number in range(40)]
    encoder = encoder_of(ExportFormat.PARQUET)
    pieces = [encoder.page([row]) for row in rows]
    assert sum(map(bool, pieces)) == 10, "what is complete is handed out"
    file = pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(pieces) + encoder.end()))
    assert file.num_row_groups == 10
    assert [row["id"] for row in file.read(["id"]).to_pylist()] == [row.id for row in rows]


# --- how it is read -------------------------------------------------------------------------------


async def test_a_page_is_found_by_the_index(container: Container, engine: Engine) -> None:
    """A page reads only its own rows, wherever it is."""
    await container.ingestion().accept(PROJECT, [make_item(number) for number in range(2_000)])
    project = project_id_of(PROJECT)
    filters = Filters(project_id=project)

    def read(session: Session) -> None:
        statement = statement_to_export(session, filters)
        rows_to_export(session, statement, after=ExtractionId(project), limit=64, most_bytes=1_000_000)

    used = plan(engine, read)
    assert re.search(r"ix_extractions_project_id|pk_extractions", used), used
    assert not re.search(r"Seq Scan|SCAN extractions(?! USING)|SCAN sources", used), used
    if engine.dialect.name == "postgresql":
        assert len(re.findall(r" on extractions\b", used)) == 1, used
