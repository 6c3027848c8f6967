"""Read a project's extractions in order, page by page."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Select

from app.database import Database, ReadSession
from app.domain.export import (
    MAX_PAGE_ROWS,
    ExportPage,
    ExportRows,
    read_export_cursor,
    write_export_cursor,
)
from app.domain.filters import ANY, Filters
from app.domain.ids import parse_extraction_id
from app.reading_ahead import reading_ahead
from app.services.storage.repositories.exportable import rows_to_export, statement_to_export
from app.services.storage.repositories.page_sizes import PAGE_BYTES
from app.services.storage.repositories.project import ProjectRepository

_FIRST_ROWS = 64
_GROWTH = 16


class ExportService:
    """Exports extractions by id, which is the same order on every database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, project: str, filters: Filters = ANY, *, after: str | None = None, limit: int = MAX_PAGE_ROWS
    ) -> ExportPage:
        """The next ``limit`` extractions after a cursor that pass the filters, from one snapshot.

        A page ends early at 8 MiB of JSON, but has at least one extraction.

        Raises:
            NotFound: the project doesn't exist.
            InvalidField: the cursor is invalid, or belongs to another project.
            InvalidInput: a data filter can't be used.
        """
        reading = _Reading(project, filters)
        return await self._database.read(lambda session: reading.page(session, after, limit))

    async def pages(
        self, project: str, filters: Filters = ANY, *, after: str | None = None
    ) -> AsyncIterator[ExportPage]:
        """All pages after a cursor, each read by :meth:`page`; the last one may be empty.

        Other transactions may write between pages. An extraction that exists throughout is
        yielded exactly once, as stored when its page was read; one that is stored or deleted
        meanwhile may be missing. The next page is read while the caller works on the current one.
        Pages after the first wait for a thread without a limit on waiting callers, so the caller
        must bound the number of exports.
        """
        async with aclosing(reading_ahead(self._pages(project, filters, after))) as pages:
            async for page in pages:
                yield page

    async def _pages(self, project: str, filters: Filters, after: str | None) -> AsyncIterator[ExportPage]:
        reading = _Reading(project, filters)
        page = await self._database.read(lambda session: reading.page(session, after))
        yield page
        while page.cursor is not None:
            # After a full page of small rows, expect small rows again.
            first = MAX_PAGE_ROWS if len(page.rows) == MAX_PAGE_ROWS else _FIRST_ROWS
            read = partial(reading.page, after=page.cursor, first=first)
            page = await self._database.read(read, exempt_from_max_waiting=True)
            yield page


class _Reading:
    """One export, whose pages share a statement. Not thread-safe."""

    def __init__(self, project: str, filters: Filters) -> None:
        self._project = project
        self._filters = filters
        self._statement: Select[Any] | None = None

    def page(
        self, session: ReadSession, after: str | None, limit: int = MAX_PAGE_ROWS, first: int = _FIRST_ROWS
    ) -> ExportPage:
        """Read a page: ``first`` rows, then as many as their sizes suggest, so few are wasted."""
        project_id = ProjectRepository(session).get(self._project).id
        place = None if after is None else read_export_cursor(after, project_id)
        if self._statement is None:
            self._statement = statement_to_export(session, replace(self._filters, project_id=project_id))
        rows: ExportRows = []
        taken, size = 0, first
        while len(rows) < limit and taken < PAGE_BYTES:
            wanted, room = min(size, limit - len(rows)), PAGE_BYTES - taken
            some, some_bytes = rows_to_export(
                session, self._statement, after=place, limit=wanted, most_bytes=room
            )
            if not some:
                return ExportPage(rows, None)
            rows += some
            taken += some_bytes
            place = parse_extraction_id(rows[-1].id)
            size = max(1, min(_GROWTH * len(rows), (PAGE_BYTES - taken) * len(rows) // max(1, taken)))
        return ExportPage(rows, None if place is None else write_export_cursor(project_id, place))
