"""The rows and pages of an export, as plain values, and its cursor."""

import base64
import binascii
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from app.domain.ids import ExtractionId, ProjectId
from app.errors import InvalidField

MAX_PAGE_ROWS = 1_000
"""How many extractions a page of an export holds at most. A page is read from one snapshot."""

_UUID_BYTES = 16


class ExportFormat(StrEnum):
    """The format of an export. ``ingest`` reads JSON lines back."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class ExportRow(NamedTuple):
    """An extraction to write, with the columns of CSV and Parquet.

    ``metadata`` and ``data`` are JSON as stored.
    """

    id: str
    source_uri: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    metadata: str | None
    data: str


ExportRows = list[ExportRow]


class ExportPage(NamedTuple):
    """Extractions in the order of their ids, and the cursor of the next page; None on the last."""

    rows: ExportRows
    cursor: str | None


def write_export_cursor(project_id: ProjectId, after: ExtractionId) -> str:
    """Encode the place after an extraction in the export of its project."""
    return base64.urlsafe_b64encode(project_id.bytes + after.bytes).decode().rstrip("=")


def read_export_cursor(cursor: str, project_id: ProjectId) -> ExtractionId:
    """Return the extraction after which the export of the project continues.

    Raises:
        InvalidField: the cursor is invalid or belongs to another project.
    """
    try:
        place = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        place = b""
    if len(place) != 2 * _UUID_BYTES:
        raise InvalidField("after", "isn't the cursor of an export; start again without it")
    if place[:_UUID_BYTES] != project_id.bytes:
        raise InvalidField(
            "after", "is the cursor of another project's export; name that project, or start again without it"
        )
    return ExtractionId(UUID(bytes=place[_UUID_BYTES:]))
