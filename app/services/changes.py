"""Read changes from the ledger: the history of facts, sources and runs, and a project's feed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson

from app.database import Database, ReadSession
from app.domain.changes import Change, ChangeKind, FeedPage, FeedPlace, History
from app.domain.ids import ExtractionId, ProjectId, RunId, SourceId, parse_uuid
from app.domain.rows import ExtractionRow, LedgerRow, LedgerRows
from app.errors import HistoryPruned, InvalidField, NotFound
from app.models import Project
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.ledger import LedgerRepository
from app.services.storage.repositories.page_sizes import PAGE_BYTES
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.run import RunRepository
from app.services.storage.repositories.source import SourceRepository

_ENTRIES = 200
_MOMENTS = frozenset({"created_at", "changed_at", "observed_at"})
_FIRST_ROWS = 64


class ChangeService:
    """Reads the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_extraction(
        self, extraction_id: ExtractionId, *, before: int | None = None, limit: int = 100
    ) -> History:
        """The history of an extraction, even if deleted: the ``limit`` newest before ``before``.

        Raises:
            NotFound: neither SQL nor the ledger has it.
        """

        def work(session: ReadSession) -> History:
            ledger = LedgerRepository(session)
            stored = ExtractionRepository(session).get_batch([extraction_id])
            source_id = stored[0].source_id if stored else ledger.find_source_of_removed(extraction_id)
            if source_id is None:
                raise NotFound("extraction", extraction_id)
            return _history(
                session, source_id, before, limit, lambda change: change.extraction_id == extraction_id
            )

        return await self._database.read(work)

    async def of_source(
        self, project: str, source_id: SourceId, *, before: int | None = None, limit: int = 100
    ) -> History:
        """The history of a source and its facts, even if it is deleted.

        At least the ``limit`` newest changes before ``before``; changes of one transaction stay
        together.

        Raises:
            NotFound: the project doesn't exist, or neither SQL nor the ledger has the source in it.
        """

        def work(session: ReadSession) -> History:
            project_id = ProjectRepository(session).get(project).id
            found = _history(session, source_id, before, limit, lambda _: True, project_id)
            if not found.changes and before is None:
                _require_source(session, project, source_id)
            return found

        return await self._database.read(work)

    async def of_run(
        self, project: str, run_id: RunId, *, before: int | None = None, limit: int = 100
    ) -> History:
        """The changes of a run: at least the ``limit`` newest before ``before``.

        Raises:
            NotFound: the project or the run doesn't exist.
        """

        def work(session: ReadSession) -> History:
            stored = ProjectRepository(session).get(project)
            RunRepository(session).get(stored.id, run_id)
            ledger = LedgerRepository(session)
            first = RunRepository(session).first_change(run_id)
            pages = _pages(lambda before: ledger.of_run(run_id, before=before, limit=_ENTRIES), before)
            changes, following = _newest(pages, limit, lambda _: True)
            changes = _with_rows_of(changes, _rows_of(session, changes))
            return History(changes, following, is_whole=first is None or first > stored.pruned_through)

        return await self._database.read(work)

    async def newest(self, project: str) -> int:
        """The number of a project's newest ledger entry. A feed that has read it is up to date.

        Raises:
            NotFound: the project doesn't exist.
        """
        return await self._database.read(lambda session: ProjectRepository(session).get(project).last_change)

    async def feed(self, project: str, *, after: FeedPlace | None = None, limit: int = 100) -> FeedPage:
        """A project's changes in commit order: the next ``limit`` after a place.

        Without a place, from the beginning. No change is missing or comes twice, however many
        transactions write at once. A page of large facts ends early.

        Raises:
            NotFound: the project doesn't exist.
            HistoryPruned: the entries after that place were pruned from the ledger.
            InvalidField: the place belongs to another project, or to a later state than the one the
                store was restored to.
        """

        def work(session: ReadSession) -> FeedPage:
            stored = ProjectRepository(session).get(project)
            place = _checked_place(stored, after)
            changes, following = _first(_from(LedgerRepository(session), stored.id, place, limit + 1), limit)
            page = _with_rows(session, changes)
            following = following if len(page) == len(changes) else changes[len(page)]
            whole = after is not None or not stored.pruned_through
            after_page = _place_after(place, page, following)
            return FeedPage(page, after_page, is_last=following is None, is_whole=whole)

        return await self._database.read(work)


def _require_source(session: ReadSession, project: str, source_id: SourceId) -> None:
    SourceRepository(session).get(ProjectRepository(session).get(project).id, source_id)


def _history(  # noqa: PLR0913, PLR0917 - which page, and of what
    session: ReadSession,
    source_id: SourceId,
    before: int | None,
    limit: int,
    wanted: Callable[[Change], bool],
    project_id: ProjectId | None = None,
) -> History:
    ledger = LedgerRepository(session)

    def read(before: int | None) -> LedgerRows:
        return ledger.of_source(source_id, project_id=project_id, before=before, limit=_ENTRIES)

    pages = _pages(read, before)
    changes, following = _newest(pages, limit, wanted)
    changes = _with_rows_of(changes, _rows_of(session, changes))
    oldest = changes[-1].kind if changes else None
    return History(changes, following, is_whole=following is None and oldest == ChangeKind.ADDED)


def _pages(read: Callable[[int | None], LedgerRows], before: int | None) -> Iterator[LedgerRow]:
    while page := read(before):
        yield from page
        before = page[-1].number


def _newest(
    entries: Iterable[LedgerRow], limit: int, wanted: Callable[[Change], bool]
) -> tuple[list[Change], int | None]:
    """At least ``limit`` changes of whole entries, and the ``before`` of the rest, if any."""
    found: list[Change] = []
    last = 0
    taken_bytes = 0
    for entry in entries:
        if len(found) >= limit or taken_bytes > PAGE_BYTES:
            return found, last
        kept = [change for change in reversed(changes_of(entry)) if wanted(change)]
        found += kept
        taken_bytes += sum(map(_removed_bytes, kept))
        last = entry.number
    return found, None


def _first(changes: Iterator[Change], limit: int) -> tuple[list[Change], Change | None]:
    """The first ``limit`` changes, fewer if removed facts are large, and the change after them."""
    found: list[Change] = []
    taken_bytes = 0
    for change in changes:
        if len(found) == limit or taken_bytes > PAGE_BYTES:
            return found, change
        found.append(change)
        taken_bytes += _removed_bytes(change)
    return found, None


def _removed_bytes(change: Change) -> int:
    return len(orjson.dumps(change.before)) if change.kind == ChangeKind.REMOVED else 0


def changes_of(entry: LedgerRow) -> list[Change]:
    """The changes in an entry, in order. Repeated assertions don't count as changes."""
    told = entry.changes
    number, at, run_id, source_id = entry.number, entry.at, entry.run_id, entry.source_id

    def of_source(kind: ChangeKind, before: dict[str, Any], after: dict[str, Any] | None = None) -> Change:
        return Change(number, kind, at, run_id, source_id, None, before, after)

    def of_fact(kind: ChangeKind, id_: str, before: dict[str, Any] | None = None) -> Change:
        return Change(number, kind, at, run_id, source_id, ExtractionId(parse_uuid(id_)), before)

    found: list[Change] = []
    if "group" in told:
        was, became = told["group"]
        found.append(of_source(ChangeKind.REGROUPED, {"group": was}, {"group": became}))
    found += [of_fact(ChangeKind.REMOVED, each["id"], _with_moments(each)) for each in told.get("removed", ())]
    found += [of_fact(ChangeKind.CHANGED, id_, was) for id_, was in told.get("changed", {}).items()]
    found += [of_fact(ChangeKind.ADDED, id_) for id_ in told.get("added", ())]
    if "deleted" in told:
        found.append(of_source(ChangeKind.SOURCE_DELETED, _with_moments(told["deleted"])))
    return found


def _with_moments(state: Mapping[str, Any]) -> dict[str, Any]:
    """A state with its times as values, so that they are written as all others."""
    moments = {name: datetime.fromisoformat(state[name]) for name in _MOMENTS & state.keys() if state[name]}
    return {**state, **moments}


def _with_rows_of(changes: Iterable[Change], rows: Mapping[ExtractionId | None, ExtractionRow]) -> list[Change]:
    """The changes with their facts' current rows. ``_replace`` would take twice as long."""
    return [Change(*each[:-1], rows.get(each.extraction_id)) for each in changes]


def _checked_place(project: Project, after: FeedPlace | None) -> FeedPlace:
    epoch = int(project.created_at.timestamp() * 1_000_000)
    if after is None:
        return FeedPlace(epoch, project.pruned_through + 1, 0)
    if after.epoch != epoch:
        raise InvalidField("after", "is of another project, or of one that was deleted; begin again without it")
    if after.number > project.last_change + 1:
        raise InvalidField(
            "after", "is newer than the store, which was restored from a backup; begin again without it"
        )
    if after.number <= project.pruned_through:
        raise HistoryPruned("the part of the feed after that place")
    return after


def _from(
    ledger: LedgerRepository, project_id: ProjectId, place: FeedPlace, entries_at_once: int
) -> Iterator[Change]:
    number, skipped = place.number - 1, place.taken
    while entries := ledger.after(project_id, number, limit=entries_at_once):
        for entry in entries:
            changes = changes_of(entry)
            yield from changes[skipped if entry.number == place.number else 0 :]
        number = entries[-1].number


def _place_after(place: FeedPlace, page: list[Change], following: Change | None) -> FeedPlace:
    """The place after a page. After a whole entry it is the next one: that entry may be pruned."""
    if not page:
        return place
    number = page[-1].number
    if following is None or following.number != number:
        return FeedPlace(place.epoch, number + 1, 0)
    taken = sum(change.number == number for change in page)
    return FeedPlace(place.epoch, number, taken + (place.taken if number == place.number else 0))


def _with_rows(session: ReadSession, changes: list[Change]) -> list[Change]:
    """The changes with their facts' current rows: as many as fit into about 8 MB."""
    page: list[Change] = []
    taken_bytes, size = 0, _FIRST_ROWS
    while len(page) < len(changes) and taken_bytes <= PAGE_BYTES:
        some = changes[len(page) : len(page) + size]
        rows = _rows_of(session, some)
        page += _with_rows_of(some, rows)
        taken_bytes += len(orjson.dumps([row.data for row in rows.values()]))
        size = max(1, (PAGE_BYTES - taken_bytes) * len(page) // max(1, taken_bytes))
    return page


def _rows_of(session: ReadSession, changes: Iterable[Change]) -> Mapping[ExtractionId | None, ExtractionRow]:
    ids = [
        each.extraction_id
        for each in changes
        if each.extraction_id is not None and each.kind != ChangeKind.REMOVED
    ]
    return {row.id: row for row in ExtractionRepository(session).get_batch(ids)}
