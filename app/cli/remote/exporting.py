"""Exports over the HTTP API of a running service, page by page, so that a lost page is retried."""

import csv
import io
from collections.abc import AsyncIterator

from app.cli.remote.answers import Table
from app.cli.remote.connection import Connection
from app.cli.remote.filtering import params_of
from app.cli.remote.paging import project_path
from app.cli.remote.reading import read_as
from app.domain.export import MAX_PAGE_ROWS, ExportFormat, ExportPage, ExportRow
from app.domain.filters import ANY, Filters
from app.executor import Lane

_LONGEST_FIELD = 2**31 - 1


class RemoteExport:
    """The service's extractions; see :class:`app.services.export.service.ExportService`."""

    def __init__(self, service: Connection, files: Lane) -> None:
        self._service = service
        self._files = files
        csv.field_size_limit(_LONGEST_FIELD)  # an extraction's data may exceed the default of 128 KiB

    async def pages(
        self, project: str, filters: Filters = ANY, *, after: str | None = None
    ) -> AsyncIterator[ExportPage]:
        """All pages after a cursor.

        They are requested as CSV, which has the ids, and the JSON exactly as it is stored.
        """
        path = f"{project_path(project)}/export"
        params = {**params_of(filters), "format": ExportFormat.CSV.value, "limit": MAX_PAGE_ROWS}
        more = True
        while more:
            place = {} if after is None else {"after": after}
            table = await self._service.get_table(path, {**params, **place})
            page = await self._files.run(_page_of, path, table, after is None)
            yield page
            after, more = page.cursor, page.cursor is not None


def _page_of(path: str, table: Table, named: bool) -> ExportPage:
    def read(content: bytes) -> list[ExportRow]:
        lines = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        if named and tuple(next(lines)) != ExportRow._fields:
            raise ValueError("other columns")
        return [_row_of(*line) for line in lines]

    return ExportPage(read_as(path, read, table.content), table.next_cursor)


def _row_of(id_: str, uri: str, group: str, type_: str, confidence: str, metadata: str, data: str) -> ExportRow:
    return ExportRow(
        id_, uri, group or None, type_, float(confidence) if confidence else None, metadata or None, data
    )
