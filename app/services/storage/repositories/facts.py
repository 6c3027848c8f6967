"""Read, change and remove stored facts, with the values that the ledger needs."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId, parse_uuid
from app.models import Extraction, JsonDocument
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.data_indexes import DataIndexRepository
from app.services.storage.repositories.id_lists import Ids, among, texts
from app.services.storage.repositories.indexable import digits_of_confidence, number_of
from app.services.storage.repositories.page_sizes import rows_that_fit

_TABLE = Extraction.__table__
_FIRST_ROWS = 64


class Assertion(NamedTuple):
    """The values of an extraction that may change."""

    confidence: float | None
    metadata: dict[str, Any] | None


class StoredFact(NamedTuple):
    """A stored extraction with the values that may change."""

    id: ExtractionId
    source_id: SourceId
    assertion: Assertion
    last_run_id: RunId | None


class RemovedFact(NamedTuple):
    """A removed extraction, with the values that an undo stores again."""

    id: ExtractionId
    source_id: SourceId
    extraction_type: str
    confidence: float | None
    metadata: dict[str, Any] | None
    created_at: datetime
    first_run_id: RunId | None
    last_run_id: RunId | None
    changed_at: datetime | None
    data: dict[str, Any]


StoredFacts = dict[ExtractionId, StoredFact]
_REMOVED = [_TABLE.c[name] for name in RemovedFact._fields]


class FactRepository:
    """Works on a session, in its transaction; never commits. Ids without a row are ignored."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def find_batch(self, ids: Ids, *, locked: bool = False) -> StoredFacts:
        """The extractions with these ids; ``locked`` ones don't change until the transaction ends.

        They are locked in order of id, so that transactions don't deadlock.
        """
        return self._find(among(_TABLE.c.id, ids, self._dialect), ids, locked=locked) if ids else {}

    def lock(self, ids: Ids) -> None:
        """Lock these extractions like :meth:`find_batch`. On SQLite the write lock does that."""
        if ids and self._dialect == "postgresql":
            chosen = among(_TABLE.c.id, ids, self._dialect)
            self._session.execute(
                select(_TABLE.c.id).where(chosen).order_by(_TABLE.c.id).with_for_update()
            ).all()

    def lock_of_sources(self, sources: Ids) -> None:
        """Lock all extractions of these sources, like :meth:`lock`."""
        if sources and self._dialect == "postgresql":
            chosen = among(_TABLE.c.source_id, sources, self._dialect)
            locked = select(_TABLE.c.id).where(chosen).order_by(_TABLE.c.id).with_for_update().subquery()
            self._session.execute(select(func.count()).select_from(locked))

    def find_of_sources(self, sources: Ids) -> StoredFacts:
        """All extractions of these sources."""
        return self._find(among(_TABLE.c.source_id, sources, self._dialect), sources) if sources else {}

    def assert_batch(self, assertions: Mapping[ExtractionId, Assertion]) -> None:
        """Update the confidence and metadata of existing extractions."""
        if not assertions:
            return
        statement = (
            update(_TABLE)
            .where(_TABLE.c.id == bindparam("extraction"))
            .values(
                confidence=bindparam("confidence_now"),
                metadata=bindparam("metadata_now", type_=JsonDocument),
                changed_at=now(self._dialect),
            )
        )
        self._session.execute(
            statement,
            [
                {"extraction": id_, "confidence_now": wanted.confidence, "metadata_now": wanted.metadata}
                for id_, wanted in sorted(assertions.items())
            ],
        )
        metadata = {id_: wanted.metadata for id_, wanted in assertions.items()}
        DataIndexRepository(self._session).rewrite_metadata(metadata)

    def set_last_run(self, ids: Ids, run_id: RunId | None) -> None:
        """Store the run that last asserted these extractions; one statement."""
        if ids:
            chosen = among(_TABLE.c.id, ids, self._dialect)
            self._session.execute(update(_TABLE).where(chosen).values(last_run_id=run_id))

    def iter_removed(
        self, ids: Sequence[ExtractionId | str], *, project_id: ProjectId | None = None
    ) -> Iterator[list[RemovedFact]]:
        """Delete extractions of a project or of all, and yield their rows, in pages of about 8 MB.

        The caller must have locked them, and must queue the deletion of their vectors in the same
        transaction.
        """
        start, size = 0, _FIRST_ROWS
        while start < len(ids):
            some = ids[start : start + size]
            removed, taken_bytes = self._remove(some, project_id)
            if removed:
                yield removed
            start += len(some)
            size = rows_that_fit(len(some), taken_bytes)

    def _remove(self, ids: Ids, project_id: ProjectId | None) -> tuple[list[RemovedFact], int]:
        chosen = among(_TABLE.c.id, ids, self._dialect)
        if project_id is not None:
            chosen &= _TABLE.c.project_id == project_id
        rows = self._session.execute(delete(_TABLE).where(chosen).returning(*_REMOVED))
        removed = [RemovedFact(*row) for row in rows.all()]
        return removed, len(orjson.dumps([row.data for row in removed]))

    def _find(self, chosen: ColumnElement[bool], given: Ids, *, locked: bool = False) -> StoredFacts:
        """Read facts. The ids ``given`` aren't parsed again, which takes most of a row's time."""
        if self._dialect == "postgresql":
            query = select(
                _TABLE.c.id, _TABLE.c.source_id, _TABLE.c.confidence, _TABLE.c.metadata, _TABLE.c.last_run_id
            ).where(chosen)
            query = query.order_by(_TABLE.c.id).with_for_update() if locked else query
            return {
                row[0]: StoredFact(row[0], row[1], Assertion(row[2], row[3]), row[4])
                for row in self._session.execute(query)
            }
        known = {text: id_ for text, id_ in zip(texts(given), given, strict=True) if isinstance(id_, UUID)}
        rows = orjson.loads(self._session.scalar(_on_sqlite(chosen)) or "[]")
        return {fact.id: fact for fact in (_read(row, known) for row in rows)}


def differs(before: Assertion, now: Assertion) -> bool:
    """Whether two assertions differ as JSON."""
    if before.confidence != now.confidence:
        return True
    return before.metadata is not now.metadata and _canonical(before.metadata) != _canonical(now.metadata)


def _canonical(metadata: Mapping[str, Any] | None) -> bytes:
    return orjson.dumps(metadata, option=orjson.OPT_SORT_KEYS)


def _on_sqlite(chosen: ColumnElement[bool]) -> Select[tuple[str]]:
    """Read one JSON document, because the driver releases the GIL at each row."""
    metadata = case((_TABLE.c.metadata.is_(None), null()), else_=func.json(cast(_TABLE.c.metadata, String)))
    ids = (cast(_TABLE.c[name], Text) for name in ("id", "source_id", "last_run_id"))
    return select(func.json_group_array(func.json_array(*ids, digits_of_confidence(), metadata))).where(chosen)


def _read(row: Sequence[Any], known: Mapping[str, UUID]) -> StoredFact:
    id_, source_id, run_id, digits, metadata = row
    return StoredFact(
        ExtractionId(known.get(id_) or UUID(id_)),
        SourceId(known.get(source_id) or parse_uuid(source_id)),
        Assertion(number_of(digits), metadata),
        None if run_id is None else RunId(parse_uuid(run_id)),
    )
