"""What an export hands out, as plain values, and the cursor that names a place in it."""

import base64
import binascii
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from app.domain.ids import ExtractionId, ProjectId
from app.errors import InvalidField

MAX_PAGE_ROWS = 1_000
"""How many extractions a page of an export holds at most. All of a page is read from one consistent state."""

_UUID_BYTES = 16


class ExportFormat(StrEnum):
    """How extractions are written. JSON lines are what ``ingest`` takes."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ExportRow(NamedTuple):
    """An extraction to write: the columns of CSV and Parquet. ``metadata`` and ``data`` are JSON as it is stored."""

    id: str
    source_uri: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    metadata: str | None
    data: str


ExportRows = list[ExportRow]


class ExportPage(NamedTuple):
    """Extractions by id, and the cursor after them; None once nothing follows."""

    rows: ExportRows
    cursor: str | None


def write_export_cursor(project_id: ProjectId, after: ExtractionId) -> str:
    """The place after an extraction in the export of its project."""
    return base64.urlsafe_b64encode(project_id.bytes + after.bytes).decode().rstrip("=")


def read_export_cursor(cursor: str, project_id: ProjectId) -> ExtractionId:
    """The extraction after which the export of that project goes on.

    Raises:
        InvalidField: it is the cursor of another project, or none at all.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        place = b""
    if len(place) != 2 * _UUID_BYTES:
        raise InvalidField("after", "is no cursor of an export; begin again without it")
    if place[:_UUID_BYTES] != project_id.bytes:
        raise InvalidField(
            "after", "is a cursor of another project's export; name that project, or begin again without it"
        )
    return ExtractionId(UUID(bytes=place[_UUID_BYTES:]))
