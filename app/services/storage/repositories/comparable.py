"""Read rows to compare with points: a page by id, in one statement."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Select, Text, cast, func, select
from sqlalchemy.orm import Session

from app.domain.ids import ExtractionId, ProjectId
from app.models import Extraction, ExtractionWords, Source
from app.services.storage.repositories.filtering import beyond, in_project
from app.services.storage.repositories.indexable import digits_of_confidence, number_of

_TABLE = Extraction.__table__
_SOURCES = Source.__table__
_WORDS = ExtractionWords.__table__


class ComparableRow(NamedTuple):
    """An extraction's values to compare with its point; ids are text, as in Qdrant.

    ``marked`` says whether it is marked as indexed. ``words`` is the version of the rules that made
    its words, None if it has none.
    """

    id: str
    project_id: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    marked: bool
    set_aside: bool
    words: int | None


def comparable_rows(
    session: Session, after: str | None, limit: int, project_id: ProjectId | None
) -> list[ComparableRow]:
    """The next ``limit`` rows by id after ``after`` (None: the first), of one project or all."""
    if session.get_bind().dialect.name == "postgresql":
        return _in_order(session.execute(_page(after, limit, project_id, _TABLE.c.confidence)))
    # One JSON document, as in :mod:`.indexable`.
    page = _page(after, limit, project_id, digits_of_confidence().label("confidence")).subquery()
    document = session.scalar(select(func.json_group_array(func.json_array(*page.c)))) or "[]"
    return _in_order((*row[:4], number_of(row[4]), *row[5:]) for row in orjson.loads(document))


def _in_order(rows: Iterable[Any]) -> list[ComparableRow]:
    return sorted(ComparableRow._make((*row[:5], bool(row[5]), bool(row[6]), row[7])) for row in rows)


def _page(after: str | None, limit: int, project_id: ProjectId | None, confidence: Any) -> Select[Any]:  # noqa: ANN401 - a column or an expression
    # Outer joins, so that SQLite reads the extractions in the order of their key.
    joined = _TABLE.outerjoin(_SOURCES, _TABLE.c.source_id == _SOURCES.c.id).outerjoin(
        _WORDS, _WORDS.c.extraction_id == _TABLE.c.id
    )
    return (
        select(
            cast(_TABLE.c.id, Text).label("id"),
            cast(_TABLE.c.project_id, Text).label("project_id"),
            _SOURCES.c.source_group,
            _TABLE.c.extraction_type,
            confidence,
            _TABLE.c.embedding_id.is_not(None).label("marked"),
            _TABLE.c.set_aside_reason.is_not(None).label("set_aside"),
            _WORDS.c.made_by,
        )
        .select_from(joined)
        .where(in_project(project_id), beyond(None if after is None else ExtractionId(UUID(after))))
        .order_by(_TABLE.c.id)
        .limit(limit)
    )
