"""The repository of extractions: reading, filtering, storing and marking their rows."""

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    Update,
    bindparam,
    cast,
    func,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId, parse_uuid
from app.domain.ordering import Order, Place
from app.domain.rows import ExtractionRow, ExtractionRows
from app.errors import NotFound
from app.models import ORPHANED, Extraction
from app.services.storage.repositories.bulk_insert import insert_new
from app.services.storage.repositories.extraction_rows import joined_rows, rows_by_id
from app.services.storage.repositories.filtering import (
    beyond,
    in_project,
    passes,
    passing,
    passing_among,
)
from app.services.storage.repositories.id_lists import Ids, among, texts
from app.services.storage.repositories.ordering import Ordering
from app.services.storage.repositories.statements import lift_time_limits, rows_changed

_TABLE = Extraction.__table__

_FEW = 16
"""The most rows to read ahead: each may have 4 MiB of data."""

_STREAMED = {"stream_results": True, "max_row_buffer": _FEW}


class NewExtraction(NamedTuple):
    """An extraction to store. ``data`` must suit orjson: no NaN, and only 64-bit integers."""

    id: ExtractionId
    project_id: ProjectId
    source_id: SourceId
    extraction_type: str
    data: Mapping[str, Any]
    confidence: float | None = None
    metadata: Mapping[str, Any] | None = None
    first_run_id: RunId | None = None
    last_run_id: RunId | None = None
    created_at: datetime | None = None
    changed_at: datetime | None = None


_MAY_BE_ABSENT = ("confidence", "metadata", "first_run_id", "last_run_id", "created_at", "changed_at")


# Named here, because inside the repository ``list`` is a method.
ExtractionIds = list[ExtractionId]


class ExtractionRepository:
    """Works on a session, in its transaction; never commits.

    Ids may be UUIDs or their text; ids without a row are ignored.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create(self, extraction: NewExtraction) -> bool:
        """Store an extraction; return False if it already existed."""
        return bool(self.create_batch([extraction]))

    def create_batch(
        self, extractions: Sequence[NewExtraction], *, held: Collection[ExtractionId] | None = None
    ) -> set[ExtractionId]:
        """Store the extractions that don't exist yet, and return their ids.

        A ``created_at`` of None means now; set it for all or for none. ``held`` are the ids that
        exist, if the caller has checked.
        """
        if not extractions:
            return set()
        columns = dict(zip(NewExtraction._fields, zip(*extractions, strict=True), strict=True))
        for name in _MAY_BE_ABSENT:
            if not any(value is not None for value in columns[name]):
                del columns[name]
        return {ExtractionId(new) for new in insert_new(self._session, _TABLE, columns, held=held)}

    def get(self, extraction_id: ExtractionId) -> ExtractionRow:
        """One extraction.

        Raises:
            NotFound: no extraction has that id.
        """
        found = self.get_batch([extraction_id])
        if not found:
            raise NotFound("extraction", extraction_id)
        return found[0]

    def get_batch(self, ids: Ids) -> ExtractionRows:
        """The extractions with these ids, in their order, each once; one statement."""
        if not ids:
            return []
        spelled = dict(zip(texts(ids), ids, strict=True))
        by_id = rows_by_id(self._session, spelled)
        return [by_id[key] for key in spelled if key in by_id]

    def get_by_source(self, source_id: SourceId) -> ExtractionRows:
        """A source's extractions, by id."""
        return sorted(self._stored(joined_rows().where(_TABLE.c.source_id == source_id)), key=attrgetter("id"))

    def list(self, filters: Filters = ANY, *, after: ExtractionId | None = None, limit: int) -> ExtractionRows:
        """The extractions that pass the filters, by id: the next ``limit`` after ``after``."""
        return self._stored(self._page(filters, after, limit))

    def list_within(
        self, most_bytes: int, filters: Filters = ANY, *, after: ExtractionId | None = None, limit: int
    ) -> tuple[ExtractionRows, bool]:
        """Like :meth:`list`, but stops before the data exceeds ``most_bytes`` of JSON.

        Also returns whether it stopped. The first row is returned whatever its size.
        """
        query = self._page(filters, after, limit).execution_options(**_STREAMED)
        with self._session.execute(query) as found:
            return _within(most_bytes, (ExtractionRow(*row) for row in found))

    def iter_pages(self, ids: Ids, most_bytes: int) -> Iterator[ExtractionRows]:
        """The extractions with these ids, by id, in pages of up to ``most_bytes`` or one row."""
        filters, after, more = Filters(extraction_ids=tuple(ids)), None, True
        while more and ids:
            rows, more = self.list_within(most_bytes, filters, after=after, limit=len(ids))
            if rows:
                after = rows[-1].id
                yield rows

    def list_sorted(
        self, order: Order, most_bytes: int, filters: Filters = ANY, *, after: Place | None = None, limit: int
    ) -> tuple[ExtractionRows, bool]:
        """Like :meth:`list_within`, but in an order; ``after`` is a place in it."""
        ordering = Ordering(order, self._dialect)
        chosen = passing(self._session, filters, *ordering.columns())
        ids = self._session.scalars(ordering.ids(chosen, after, limit)).all()
        few = (ids[start : start + _FEW] for start in range(0, len(ids), _FEW))
        return _within(most_bytes, (row for some in few for row in self.get_batch(some)))

    def count(self, filters: Filters = ANY) -> int:
        """How many extractions pass the filters."""
        return self._session.scalar(passing(self._session, filters, func.count(), whole=True)) or 0

    def list_ids(self, filters: Filters, *, after: ExtractionId | None = None, limit: int) -> ExtractionIds:
        """The ids of the extractions that pass the filters: the next ``limit`` after ``after``."""
        return self._ids(passing(self._session, filters, _TABLE.c.id).where(beyond(after)), limit)

    def iter_ids_of_sources(self, sources: Ids, *, size: int) -> Generator[Sequence[ExtractionId], None, None]:
        """Stream the ids of these sources' extractions, ``size`` at a time; may be millions."""
        if not sources:
            return
        query = select(_TABLE.c.id).where(among(_TABLE.c.source_id, sources, self._dialect))
        with closing(self._session.scalars(query.execution_options(yield_per=size))) as found:
            yield from found.partitions()

    def keep_passing(self, ids: Ids, filters: Filters) -> set[ExtractionId]:
        """The ``ids`` whose extractions pass the filters."""
        some = among(_TABLE.c.id, ids, self._dialect)
        return set(self._session.scalars(passing_among(self._session, some, filters, _TABLE.c.id)))

    def existing_ids(self, ids: Ids) -> set[ExtractionId]:
        """The ``ids`` that have a row."""
        # The given ids aren't parsed again: parsing would take longer than everything else.
        spelled = dict(zip(texts(ids), ids, strict=True))
        found = select(cast(_TABLE.c.id, Text).label("id")).where(among(_TABLE.c.id, ids, self._dialect))
        if self._dialect == "sqlite":  # one row: the driver releases the GIL at each
            every = select(func.json_group_array(found.subquery().c.id))
            there: Iterable[str] = orjson.loads(self._session.scalar(every) or "[]")
        else:
            there = self._session.scalars(found)
        known = ((text, spelled.get(text)) for text in there)
        return {ExtractionId(id_ if isinstance(id_, UUID) else parse_uuid(text)) for text, id_ in known}

    def count_marks(self, ids: Ids) -> tuple[int, int]:
        """How many of ``ids`` are marked as indexed, and how many are set aside."""
        marked, set_aside = self._session.execute(
            select(func.count(_TABLE.c.embedding_id), func.count(_TABLE.c.set_aside_reason)).where(
                among(_TABLE.c.id, ids, self._dialect)
            )
        ).one()
        return marked, set_aside

    def find_orphaned(
        self, *, after: ExtractionId | None = None, limit: int, project_id: ProjectId | None = None
    ) -> ExtractionIds:
        """The ids of orphans that aren't set aside: the next ``limit`` after ``after``."""
        orphaned = select(_TABLE.c.id).where(text(ORPHANED), in_project(project_id), beyond(after))
        return self._ids(orphaned, limit)

    def count_orphaned(self, project_id: ProjectId | None = None) -> int:
        """How many orphans aren't set aside, in one project or all."""
        orphaned = select(func.count()).select_from(_TABLE).where(text(ORPHANED), in_project(project_id))
        return self._session.scalar(orphaned) or 0

    def any_marked(self) -> bool:
        """Whether any extraction is marked as indexed."""
        marked = select(_TABLE.c.id).where(_TABLE.c.embedding_id.is_not(None)).exists()
        return bool(self._session.scalar(select(marked)))

    def update_embedding_ids_batch(self, ids: Ids) -> int:
        """Mark extractions as indexed, in one statement; return how many weren't marked before.

        Call it only after Qdrant has acknowledged their vectors.
        """
        return self._change(ids, {"embedding_id": cast(_TABLE.c.id, Text)}, _TABLE.c.embedding_id.is_(None))

    def clear_embedding_ids_batch(self, ids: Ids) -> int:
        """Clear these extractions' marks, in one statement; return how many had one."""
        return self._change(ids, {"embedding_id": None}, _TABLE.c.embedding_id.is_not(None))

    def clear_all_embedding_ids(self) -> int:
        """Clear all marks and set-aside reasons, without a time limit; return the rows changed."""
        lift_time_limits(self._session)
        marked = _TABLE.c.embedding_id.is_not(None) | _TABLE.c.set_aside_reason.is_not(None)
        return self._execute(update(_TABLE).where(marked).values(embedding_id=None, set_aside_reason=None))

    def clear_set_aside_batch(self, ids: Ids) -> int:
        """Make set-aside extractions orphans again, in one statement; return the rows changed."""
        return self._change(ids, {"set_aside_reason": None}, _TABLE.c.set_aside_reason.is_not(None))

    def set_aside(self, reasons: Mapping[ExtractionId, str] | Mapping[str, str]) -> None:
        """Set extractions aside, with the reasons, unless they have a vector."""
        if not reasons:
            return
        statement = (
            update(_TABLE)
            .where(_TABLE.c.id == bindparam("extraction"), _TABLE.c.embedding_id.is_(None))
            .values(set_aside_reason=bindparam("reason"))
        )
        self._session.execute(
            statement, [{"extraction": key, "reason": reason} for key, reason in reasons.items()]
        )

    def _stored(self, query: Select[Any]) -> ExtractionRows:
        return [ExtractionRow(*row) for row in self._session.execute(query).all()]

    def _page(self, filters: Filters, after: ExtractionId | None, limit: int) -> Select[Any]:
        query = joined_rows().where(passes(self._session, filters), beyond(after))
        return query.order_by(_TABLE.c.id).limit(limit)

    def _ids(self, query: Select[ExtractionId], limit: int) -> ExtractionIds:
        return list(self._session.scalars(query.order_by(_TABLE.c.id).limit(limit)))

    def _change(self, ids: Ids, values: Mapping[str, Any], condition: ColumnElement[bool]) -> int:
        if not ids:
            return 0
        chosen = among(_TABLE.c.id, ids, self._dialect)
        return self._execute(update(_TABLE).where(chosen, condition).values(**values))

    def _execute(self, statement: Update) -> int:
        return rows_changed(self._session, statement)


def _within(most_bytes: int, rows: Iterable[ExtractionRow]) -> tuple[ExtractionRows, bool]:
    """The rows that fit into ``most_bytes`` of JSON, at least one, and whether more are left."""
    taken, found = 0, list[ExtractionRow]()
    for row in rows:
        taken += len(orjson.dumps(row.data))
        if taken > most_bytes and found:
            return found, True
        found.append(row)
    return found, False
