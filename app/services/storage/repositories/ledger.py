"""The ledger: what each transaction changed in each source, in an order without gaps.

An entry's ``changes`` is a JSON object with those of these members that it needs:

- ``new``: true if the source was new;
- ``added``: the ids of new extractions;
- ``changed``: the previous ``confidence`` and ``metadata`` of changed extractions, by id;
- ``removed``: removed extractions, whole;
- ``group`` and ``observed_at`` of the source: the old and the new value;
- ``asserted``: the ids of stored extractions that a run asserted, by the run that did so before;
- ``deleted``: the source's row, if it was deleted;
- ``undoes``: the number of the entry that this one undoes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    Subquery,
    Text,
    cast,
    delete,
    func,
    literal_column,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId, parse_uuid
from app.domain.rows import LedgerRow, LedgerRows, SourceRow
from app.models import REMOVING, LedgerEntry, Project, Run, parse_moment
from app.services.storage.repositories.bulk_insert import insert_all
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.facts import Assertion, RemovedFact
from app.services.storage.repositories.page_sizes import PAGE_BYTES
from app.services.storage.repositories.statements import rows_changed

PRUNED_AT_ONCE = 1_000

_ID_BYTES = 40

_TABLE = LedgerEntry.__table__
_PROJECTS = Project.__table__
_RUNS = Run.__table__
_ROW = [_TABLE.c[name] for name in LedgerRow._fields]


@dataclass(slots=True)
class SourceChanges:
    """A transaction's changes of a source; ``regrouped`` counts facts with only a new group."""

    source_id: SourceId
    is_new: bool = False
    added: list[ExtractionId] = field(default_factory=list)
    changed: dict[ExtractionId, Assertion] = field(default_factory=dict)
    removed: list[RemovedFact] = field(default_factory=list)
    group: tuple[str | None, str | None] | None = None
    regrouped: int = 0
    observed_at: tuple[datetime | None, datetime | None] | None = None
    asserted: dict[RunId | None, list[ExtractionId]] = field(default_factory=dict)
    deleted: SourceRow | None = None
    undoes: int | None = None

    def matter(self, run_id: RunId | None) -> bool:
        """Whether there is anything to record. An observation only matters for undoing a run."""
        facts = self.added or self.changed or self.removed or self.asserted
        source = self.is_new or self.group or self.deleted
        return bool(facts or source or (run_id and self.observed_at))

    @property
    def size(self) -> int:
        """The approximate number of bytes as JSON."""
        if not (self.changed or self.removed or self.asserted):  # true of most entries
            return _ID_BYTES * len(self.added)
        ids = len(self.added) + len(self.changed) + sum(map(len, self.asserted.values()))
        whole = [was.metadata for was in self.changed.values() if was.metadata], self.removed_as_json()
        return _ID_BYTES * ids + (len(orjson.dumps(whole)) if any(whole) else 0)

    def as_json(self) -> dict[str, Any]:
        """The entry's JSON; see the module. Fast for the many entries with only added facts."""
        members: dict[str, Any] = {"new": True} if self.is_new else {}
        members |= {"added": self.added} if self.added else {}
        if self.changed:
            members["changed"] = {str(id_): was._asdict() for id_, was in self.changed.items()}
        if self.removed:
            members["removed"] = self.removed_as_json()
        if self.asserted:
            members["asserted"] = {str(run_id or ""): ids for run_id, ids in self.asserted.items()}
        if self.deleted is not None:
            members["deleted"] = self.deleted._asdict()
        rest = {"group": self.group, "observed_at": self.observed_at, "undoes": self.undoes}
        return members | {name: value for name, value in rest.items() if value is not None}

    def removed_as_json(self) -> list[dict[str, Any]]:
        """The removed extractions, whole."""
        return [_removed_as_json(fact) for fact in self.removed]


class ChangesBySource(dict[SourceId, SourceChanges]):
    """A transaction's changes by source; looking up a source creates its changes."""

    def __missing__(self, source_id: SourceId) -> SourceChanges:
        changes = self[source_id] = SourceChanges(source_id)
        return changes


class LedgerRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def append(
        self, project_id: ProjectId, changes: Iterable[SourceChanges], run_id: RunId | None = None
    ) -> None:
        """Record what this transaction changed. Call it last: from now on, other writers wait.

        They wait until this transaction ends, if they write to the same project. So entries become
        visible in the order of their numbers, and no number is missing.
        """
        changes = [each for each in changes if each.matter(run_id)]
        if not changes:
            return
        # A sequence is out of commit order, and has gaps: docs/decisions/ledger-order.md
        raised = (
            update(_PROJECTS)
            .where(_PROJECTS.c.id == project_id)
            .values(last_change=_PROJECTS.c.last_change + len(changes))
            .returning(_PROJECTS.c.last_change, now(self._dialect))
        )
        last, moment = self._session.execute(raised).one()
        first = last - len(changes) + 1
        columns = {
            "project_id": [project_id] * len(changes),
            "number": range(first, last + 1),
            "source_id": [each.source_id for each in changes],
            "run_id": [run_id] * len(changes),
            "at": [moment] * len(changes),
            "added": [len(each.added) for each in changes],
            "changed": [len(each.changed) + each.regrouped for each in changes],
            "removed": [len(each.removed) for each in changes],
            "size": [each.size for each in changes],
            "changes": [each.as_json() for each in changes],
        }
        insert_all(self._session, _TABLE, columns)
        if run_id is not None:
            started = func.coalesce(_RUNS.c.first_change, first)
            self._session.execute(update(_RUNS).where(_RUNS.c.id == run_id).values(first_change=started))

    def after(self, project_id: ProjectId, number: int, *, limit: int) -> LedgerRows:
        """A project's entries in order: the next ``limit`` after ``number``, fewer if large."""
        chosen = [_TABLE.c.project_id == project_id, _TABLE.c.number > number]
        return self._page(chosen, _TABLE.c.number, limit)

    def of_source(
        self,
        source_id: SourceId,
        *,
        project_id: ProjectId | None = None,
        before: int | None = None,
        limit: int,
    ) -> LedgerRows:
        """A source's entries, newest first: the next ``limit`` before ``before``, fewer if large.

        In one project, or in any.
        """
        chosen = [_TABLE.c.source_id == source_id]
        chosen += [] if project_id is None else [_TABLE.c.project_id == project_id]
        chosen += [] if before is None else [_TABLE.c.number < before]
        return self._page(chosen, _TABLE.c.number.desc(), limit)

    def of_run(self, run_id: RunId, *, before: int | None = None, limit: int) -> LedgerRows:
        """A run's entries, newest first: the next ``limit`` before ``before``, fewer if large."""
        chosen: list[ColumnElement[bool]] = [
            literal_column("run_id IS NOT NULL", Boolean),
            _TABLE.c.run_id == run_id,
        ]
        chosen += [] if before is None else [_TABLE.c.number < before]
        return self._page(chosen, _TABLE.c.number.desc(), limit)

    def later_of_source(self, source_id: SourceId, number: int) -> LedgerRows:
        """A source's entries after ``number``, in order."""
        query = select(*_ROW).where(_TABLE.c.source_id == source_id, _TABLE.c.number > number)
        return self._rows(query.order_by(_TABLE.c.number))

    def find_source_of_removed(self, extraction_id: ExtractionId) -> SourceId | None:
        """The source of a removed extraction; scans all entries with removals."""
        holds_it = cast(_TABLE.c.changes, Text).contains(str(extraction_id))
        query = select(_TABLE.c.source_id).where(text(REMOVING), holds_it)
        return self._session.scalar(query.limit(1))

    def prune(self, project_id: ProjectId, *, older_than_s: float) -> int:
        """Delete a project's entries of that age, up to :data:`PRUNED_AT_ONCE`; return how many."""
        page = (
            select(_TABLE.c.number, (_TABLE.c.at < now(self._dialect, plus_s=-older_than_s)).label("old"))
            .where(_TABLE.c.project_id == project_id)
            .order_by(_TABLE.c.number)
            .limit(PRUNED_AT_ONCE)
        )
        last = 0
        for number, old in self._session.execute(page):
            if not old:
                break
            last = number
        if not last:
            return 0
        chosen = (_TABLE.c.project_id == project_id, _TABLE.c.number <= last)
        self._session.execute(update(_PROJECTS).where(_PROJECTS.c.id == project_id).values(pruned_through=last))
        return rows_changed(self._session, delete(_TABLE).where(*chosen))

    def delete_all(self, project_id: ProjectId) -> None:
        """Delete all entries of a project that is being deleted."""
        self._session.execute(delete(_TABLE).where(_TABLE.c.project_id == project_id))

    def _page(self, chosen: Sequence[ColumnElement[bool]], order: ColumnElement[int], limit: int) -> LedgerRows:
        """A page of up to about 8 MB of entries, at least one if there is any."""
        sizes = select(_TABLE.c.size).where(*chosen).order_by(order).limit(limit).subquery()
        count, together = self._session.execute(
            select(func.count(), func.coalesce(func.sum(sizes.c.size), 0))
        ).one()
        if together > PAGE_BYTES:
            count = self._count_within(sizes)
        return self._rows(select(*_ROW).where(*chosen).order_by(order).limit(count)) if count else []

    def _count_within(self, sizes: Subquery) -> int:
        """How many entries from the first fit into about 8 MB."""
        before = select((func.sum(sizes.c.size).over(rows=(None, 0)) - sizes.c.size).label("bytes")).subquery()
        return self._session.scalar(select(func.count()).where(before.c.bytes <= PAGE_BYTES)) or 0

    def _rows(self, query: Select[Any]) -> LedgerRows:
        """Read these entries; on SQLite as one JSON document, as in :mod:`.facts`."""
        if self._dialect == "postgresql":
            return [LedgerRow(*row) for row in self._session.execute(query)]
        each = query.subquery()
        texts = {name: cast(each.c[name], Text) for name in ("source_id", "run_id", "at")}
        changes = func.json(cast(each.c.changes, Text))
        row = func.json_array(*(texts.get(column.name, column) for column in [*each.c][:-1]), changes)
        document = self._session.scalar(select(func.json_group_array(row)))
        return [_read(row) for row in orjson.loads(document or "[]")]


def _read(values: Sequence[Any]) -> LedgerRow:
    """Convert the values as the column types would."""
    number, source_id, run_id, at, *rest = values
    source = SourceId(parse_uuid(source_id))
    return LedgerRow(number, source, run_id and RunId(parse_uuid(run_id)), parse_moment(at), *rest)


def removed_fact_of(source_id: SourceId, member: dict[str, Any]) -> RemovedFact:
    """A removed extraction, from its JSON in an entry's ``changes``."""
    values = {**member, "source_id": source_id}
    for name in ("created_at", "changed_at"):
        spelled = member.get(name)  # missing in entries older than the field
        values[name] = None if spelled is None else datetime.fromisoformat(spelled)
    for name, kind in _ID_MEMBERS.items():
        values[name] = None if member[name] is None else kind(UUID(member[name]))
    return RemovedFact(**values)


_ID_MEMBERS = {"id": ExtractionId, "first_run_id": RunId, "last_run_id": RunId}


def _removed_as_json(fact: RemovedFact) -> dict[str, Any]:
    members = fact._asdict()
    del members["source_id"]
    return members
