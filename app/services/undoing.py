"""Undo the changes of a run, one ledger entry at a time, newest first."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.database import WriteSession
from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId
from app.domain.outcomes import Counts, LeftAlone, Undone
from app.domain.rows import LedgerRow, SourceRow
from app.services.creating import create_facts
from app.services.jobs.queueing import pages, queue_embedding, queue_payloads, queue_vectors_deletion
from app.services.storage.repositories.extraction import NewExtraction
from app.services.storage.repositories.facts import Assertion, FactRepository, RemovedFact, StoredFacts
from app.services.storage.repositories.ledger import LedgerRepository, SourceChanges, removed_fact_of
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.run import RunRepository
from app.services.storage.repositories.source import SourceRepository
from app.services.storing import differs_in_payload, record


def undo_entries(
    session: WriteSession, undone: Undone, *, before: int | None, limit: int
) -> tuple[Undone, int | None]:
    """Undo the run's next ``limit`` entries before ``before``.

    Returns what was undone, and the ``before`` of the next call, which is None at the end.
    """
    ProjectRepository(session).hold_sources(undone.project_id)
    RunRepository(session).require_open(undone.project_id, undone.undo_run_id)
    entries = LedgerRepository(session).of_run(undone.run_id, before=before, limit=limit)
    # Lock everything that may change first, in the order in which other transactions lock.
    restored = _restore_sources(session, undone, entries)
    SourceRepository(session).lock([entry.source_id for entry in entries])
    FactRepository(session).lock(set().union(*(ids_of(entry.changes) for entry in entries)))
    part, changes = Undone(undone.project_id, undone.run_id, undone.undo_run_id), []
    for entry in entries:
        undoing = _EntryUndoing(session, undone, entry, is_new=entry.source_id in restored)
        restored.discard(entry.source_id)
        part += undoing.run()
        changes.append(undoing.changes)
    record(session, undone.project_id, changes, undone.undo_run_id, part.counts)
    return part, entries[-1].number if entries else None


def _restore_sources(session: WriteSession, undone: Undone, entries: Sequence[LedgerRow]) -> set[SourceId]:
    """Store deleted sources again that get facts back; return the ids of those restored."""
    sources, rows = SourceRepository(session), dict[SourceId, SourceRow]()
    missing = sources.missing({entry.source_id for entry in entries})
    for entry in (entry for entry in entries if entry.source_id in missing):
        later = _Later.of(session, undone, entry)
        if later.deleted is not None and (later.is_deleter or _facts_back(entry, later)):
            rows[entry.source_id] = later.deleted
    return sources.restore(list(rows.values()))


def _facts_back(entry: LedgerRow, later: "_Later") -> set[ExtractionId]:
    """The facts that the entry removed and that undoing it brings back."""
    removed = {ExtractionId(UUID(each["id"])) for each in entry.changes.get("removed", ())}
    return removed - later.ids - later.undone


@dataclass(slots=True)
class _Later:
    """What happened after an entry to the facts and the source it changed.

    ``ids`` and ``group`` were changed later by something other than the run and its undoings.
    ``undone`` is already undone (None in it stands for the group). ``deleted`` is the source as it
    was when last deleted; ``is_deleter`` is true if the entry itself deleted it.
    """

    ids: set[ExtractionId] = field(default_factory=set)
    group: bool = False
    undone: set[ExtractionId | None] = field(default_factory=set)
    deleted: SourceRow | None = None
    is_deleter: bool = False

    @classmethod
    def of(cls, session: WriteSession, undone: Undone, entry: LedgerRow) -> "_Later":
        entries = LedgerRepository(session).later_of_source(entry.source_id, entry.number)
        return cls.than(entry, entries, RunRepository(session).undoings_of(undone.run_id))

    @classmethod
    def than(cls, entry: LedgerRow, later: Iterable[LedgerRow], undoings: set[RunId]) -> "_Later":
        found = cls(deleted=_deleted_row(entry.changes), is_deleter="deleted" in entry.changes)
        later = list(later)
        for each in later:
            found.is_deleter &= each.changes.keys().isdisjoint({"new", "deleted"})
            found.deleted = _deleted_row(each.changes) or (None if "new" in each.changes else found.deleted)
        for each, stands in zip(later, _standing(later), strict=True):
            if each.changes.get("undoes") == entry.number:
                found.undone |= stands
            if each.run_id != entry.run_id and each.run_id not in undoings:
                found.ids |= {id_ for id_ in stands if id_ is not None}
                found.group |= None in stands
        return found


def _standing(entries: Sequence[LedgerRow]) -> list[set[ExtractionId | None]]:
    """What each entry touches, without changes undone among them, and without their undoings."""
    touched = {
        entry.number: {*ids_of(entry.changes), *([None] if "group" in entry.changes else [])}
        for entry in entries
    }
    for entry in reversed(entries):
        undone = touched.get(entry.changes.get("undoes", 0), set())
        back = undone & touched[entry.number]
        undone -= back
        touched[entry.number] -= back
    return list(touched.values())


class _EntryUndoing:
    """Undoes one entry, in the caller's transaction."""

    def __init__(self, session: WriteSession, undone: Undone, entry: LedgerRow, *, is_new: bool) -> None:
        self._session = session
        self._undone = undone
        self._entry = entry
        self._to_undo = entry.changes
        self._facts = FactRepository(session)
        self._sources = SourceRepository(session)
        self.changes = SourceChanges(entry.source_id, is_new=is_new, undoes=entry.number)
        self._job_ids: list[JobId] = []
        self._left: list[LeftAlone] = []

    def run(self) -> Undone:
        later = _Later.of(self._session, self._undone, self._entry)
        self._to_undo = _without(self._entry.changes, later.undone)
        source = self._sources.find(self._entry.source_id)
        if source is None:
            self._leave(ids_of(self._to_undo))
            return self._outcome(Counts())
        stored = self._facts.find_batch(ids_of(self._to_undo))
        self._remove_added(stored, later)
        self._change_back(stored, later)
        self._bring_back_removed(stored, later)
        self._restore_asserted(later)
        self._restore_source(source, later)
        changes = self.changes
        return self._outcome(
            Counts(len(changes.added), len(changes.changed) + changes.regrouped, 0, len(changes.removed))
        )

    def _remove_added(self, stored: StoredFacts, later: _Later) -> None:
        added = [id_ for id_ in _ids(self._to_undo.get("added", ())) if id_ in stored]
        self._leave(id_ for id_ in added if id_ in later.ids)
        for removed in self._facts.iter_removed([id_ for id_ in added if id_ not in later.ids]):
            self.changes.removed += removed
            ids = [fact.id for fact in removed]
            self._job_ids.append(queue_vectors_deletion(self._session, ids, self._undone.project_id))

    def _change_back(self, stored: StoredFacts, later: _Later) -> None:
        were = {
            ExtractionId(UUID(id_)): Assertion(was["confidence"], was["metadata"])
            for id_, was in self._to_undo.get("changed", {}).items()
        }
        self._leave(id_ for id_ in were if id_ in later.ids)
        back = {id_: was for id_, was in were.items() if id_ in stored and id_ not in later.ids}
        self._facts.assert_batch(back)
        self.changes.changed |= {id_: stored[id_].assertion for id_ in back}
        payloads = [id_ for id_, was in back.items() if differs_in_payload(stored[id_].assertion, was)]
        self._job_ids += queue_payloads(self._session, self._undone.project_id, payloads, ())

    def _bring_back_removed(self, stored: StoredFacts, later: _Later) -> None:
        removed = [removed_fact_of(self._entry.source_id, each) for each in self._to_undo.get("removed", ())]
        self._leave(fact.id for fact in removed if fact.id in later.ids or fact.id in stored)
        back = [fact for fact in removed if fact.id not in later.ids and fact.id not in stored]
        rows = [_row_of(fact, self._undone.project_id) for fact in back]
        create_facts(self._session, rows)
        self.changes.added += [fact.id for fact in back]
        for page in pages([fact.id for fact in back]):
            job_id = queue_embedding(self._session, self._undone.project_id, page)
            self._job_ids += [] if job_id is None else [job_id]

    def _restore_asserted(self, later: _Later) -> None:
        for run_text, texts in self._to_undo.get("asserted", {}).items():
            ids = [id_ for id_ in _ids(texts) if id_ not in later.ids]
            now = self._facts.find_batch(ids)
            self._facts.set_last_run(list(now), RunId(UUID(run_text)) if run_text else None)
            for id_, fact in now.items():
                self.changes.asserted.setdefault(fact.last_run_id, []).append(id_)

    def _restore_source(self, source: SourceRow, later: _Later) -> None:
        changes = self._to_undo
        if "group" in changes:
            self._regroup(source, *changes["group"], touched=later.group)
        if "observed_at" in changes:
            was, became = (
                None if each is None else datetime.fromisoformat(each) for each in changes["observed_at"]
            )
            if source.observed_at == became:
                self._sources.set_observed_at([source.id], was)
                self.changes.observed_at = (became, was)
        untouched = not later.ids and not later.group
        if changes.get("new") and untouched and self._sources.delete_empty([source.id]):
            self.changes.deleted = source

    def _regroup(self, source: SourceRow, was: str | None, became: str | None, *, touched: bool) -> None:
        if touched or source.group != became:
            self._left.append(LeftAlone(source.id, None))
            return
        self._sources.regroup({source.id: was})
        self.changes.group = (became, was)
        self._job_ids += queue_payloads(self._session, self._undone.project_id, (), [source.id])

    def _leave(self, ids: Iterable[ExtractionId]) -> None:
        self._left += [LeftAlone(self._entry.source_id, id_) for id_ in ids]

    def _outcome(self, counts: Counts) -> Undone:
        undone = self._undone
        return Undone(undone.project_id, undone.run_id, undone.undo_run_id, counts, self._left, self._job_ids)


def ids_of(changes: Mapping[str, Any]) -> set[ExtractionId]:
    """The ids of all extractions that a ledger entry names."""
    texts = [
        *changes.get("added", ()),
        *changes.get("changed", ()),
        *(each["id"] for each in changes.get("removed", ())),
    ]
    for ids in changes.get("asserted", {}).values():
        texts += ids
    return set(_ids(texts))


def _without(changes: Mapping[str, Any], undone: Collection[ExtractionId | None]) -> dict[str, Any]:
    """An entry's changes, without those that are already undone."""
    texts = {str(id_) for id_ in undone}
    left = {**changes}
    for name in ("added", "changed", "removed"):
        if name in changes:
            left[name] = _left(changes[name], texts)
    if "asserted" in changes:
        left["asserted"] = {run: _left(ids, texts) for run, ids in changes["asserted"].items()}
    if None in undone:
        left.pop("group", None)
    return left


def _left(told: Any, undone: Collection[str]) -> Any:  # noqa: ANN401 - ids, facts by id, or facts
    if isinstance(told, dict):
        return {id_: was for id_, was in told.items() if id_ not in undone}
    return [each for each in told if (each["id"] if isinstance(each, dict) else each) not in undone]


def _ids(texts: Iterable[str]) -> list[ExtractionId]:
    return [ExtractionId(UUID(text)) for text in texts]


def _deleted_row(changes: Mapping[str, Any]) -> SourceRow | None:
    members = changes.get("deleted")
    if members is None:
        return None
    moments = {
        name: None if members[name] is None else datetime.fromisoformat(members[name])
        for name in ("created_at", "observed_at")
    }
    ids = {"id": SourceId(UUID(members["id"])), "project_id": ProjectId(UUID(members["project_id"]))}
    return SourceRow(**{**members, **moments, **ids})


def _row_of(fact: RemovedFact, project_id: ProjectId) -> NewExtraction:
    members = fact._asdict()
    return NewExtraction(project_id=project_id, **members)
