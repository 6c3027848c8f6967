"""Look up extractions, delete them with their vectors, and retry those that were set aside."""

import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from app.database import Database, ReadSession, WriteSession
from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId, JobId, ProjectId
from app.domain.ordering import Order, Place, place_of
from app.domain.outcomes import Counts, Deleted, Retried
from app.domain.rows import ExtractionRow, ExtractionRows
from app.errors import InvalidInput
from app.services.jobs.queueing import IDS_A_JOB, pages, queue_embedding, queue_vectors_deletion
from app.services.jobs.waiting import check_wait, with_waiting
from app.services.metrics.instruments import Instruments, NullInstruments
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facts import FactRepository, RemovedFact
from app.services.storage.repositories.ledger import ChangesBySource, LedgerRepository
from app.services.storage.repositories.page_sizes import PAGE_BYTES
from app.services.storage.repositories.project import ProjectRepository
from app.services.wakeup import Wakeup

_A_PAGE = 1_000


class ExtractionPage(NamedTuple):
    """Extractions by id, and whether the list ends here."""

    rows: ExtractionRows
    ends: bool


class ExtractionService:
    """Single extractions by id, and a project's extractions by filter."""

    def __init__(self, database: Database, wakeup: Wakeup, instruments: Instruments | None = None) -> None:
        self._database = database
        self._wakeup = wakeup
        self._instruments = instruments or NullInstruments()

    async def get(self, extraction_id: ExtractionId) -> ExtractionRow:
        """One extraction.

        Raises:
            NotFound: no extraction has that id.
        """
        return await self._database.read(lambda session: ExtractionRepository(session).get(extraction_id))

    async def list(
        self, project: str, filters: Filters, *, after: ExtractionId | None = None, limit: int = 100
    ) -> ExtractionRows:
        """A project's extractions that pass the filters, by id: the next ``limit`` after ``after``.

        Raises:
            NotFound: the project doesn't exist.
            InvalidInput: a data filter can't be used.
        """

        def work(session: ReadSession) -> ExtractionRows:
            in_project = replace(filters, project_id=ProjectRepository(session).get(project).id)
            return ExtractionRepository(session).list(in_project, after=after, limit=limit)

        return await self._database.read(work)

    async def list_page(
        self,
        project: str,
        filters: Filters,
        *,
        after: ExtractionId | Place | None = None,
        limit: int = 100,
        order: Order | None = None,
    ) -> ExtractionPage:
        """Like :meth:`list`, but a page ends before its data exceeds :data:`PAGE_BYTES`.

        With ``order``, the extractions come in this order, and ``after`` is a place in it.

        Raises:
            NotFound: the project doesn't exist.
            InvalidInput: a data filter can't be used.
        """

        def work(session: ReadSession) -> ExtractionPage:
            in_project = replace(filters, project_id=ProjectRepository(session).get(project).id)
            extractions = ExtractionRepository(session)
            if order is None:
                first = after.id if isinstance(after, Place) else after
                rows, left_out = extractions.list_within(PAGE_BYTES, in_project, after=first, limit=limit)
            else:
                place = after if isinstance(after, Place) else None
                rows, left_out = extractions.list_sorted(
                    order, PAGE_BYTES, in_project, after=place, limit=limit
                )
            return ExtractionPage(rows, ends=not left_out and len(rows) < limit)

        return await self._database.read(work)

    async def iter_pages(
        self, project: str, filters: Filters, *, limit: int | None = None, order: Order | None = None
    ) -> AsyncIterator[ExtractionRows]:
        """A project's extractions that pass the filters, page by page: the first ``limit``, or all.

        By id, or in ``order``. Each page is read in its own transaction, so extractions stored or
        deleted meanwhile may or may not appear.

        Raises:
            NotFound: the project doesn't exist.
            InvalidInput: a data filter can't be used.
        """
        left = math.inf if limit is None else limit
        after: ExtractionId | Place | None = None
        ends = False
        while left > 0 and not ends:
            asked = int(min(left, _A_PAGE))
            rows, ends = await self.list_page(project, filters, after=after, limit=asked, order=order)
            if rows:
                yield rows
                after = rows[-1].id if order is None else place_of(order, rows[-1])
                left -= len(rows)

    async def count(self, project: str, filters: Filters = ANY) -> int:
        """How many of a project's extractions pass the filters.

        Raises:
            NotFound: the project doesn't exist.
            InvalidInput: a data filter can't be used.
        """

        def work(session: ReadSession) -> int:
            in_project = replace(filters, project_id=ProjectRepository(session).get(project).id)
            return ExtractionRepository(session).count(in_project)

        return await self._database.read(work)

    async def retry(self, project: str, filters: Filters = ANY) -> Retried:
        """Embed a project's set-aside extractions that pass the filters again.

        A thousand at a time: each thousand and its job are stored in one transaction. An extraction
        that is set aside again meanwhile isn't tried twice.

        Raises:
            NotFound: the project doesn't exist.
            InvalidInput: the filters exclude what is set aside, or a data filter can't be used.
        """
        if filters.set_aside is False:
            raise InvalidInput(
                "only extractions that are set aside can be retried; don't filter by set_aside false"
            )
        jobs, retried, after, more = list[JobId](), 0, None, True
        while more:
            work = partial(_retry_some, project=project, filters=filters, after=after)
            job_id, cleared, after = await self._database.write(work)
            retried += cleared
            jobs += [] if job_id is None else [job_id]
            more = after is not None
        if jobs:
            self._wakeup.set()
        return Retried(retried, jobs)

    async def delete(self, extraction_id: ExtractionId, *, wait: float | None = None) -> Deleted:
        """Delete one extraction, and queue the deletion of its vector in the same transaction.

        With ``wait``, it returns when the jobs have ended, or after that many seconds; the result's
        ``waited`` says which.

        Raises:
            NotFound: no extraction has that id.
            InvalidField: ``wait`` is longer than a minute.
        """

        def work(session: WriteSession) -> Deleted:
            row = ExtractionRepository(session).get(extraction_id)
            return delete_rows(session, row.project_id, [extraction_id])

        return await self._deleting(work, wait)

    async def delete_batch(
        self, project: str, ids: Sequence[ExtractionId | str], *, wait: float | None = None
    ) -> Deleted:
        """Delete a project's extractions by id, ignoring ids that aren't the project's.

        ``wait`` is as in :meth:`delete`.

        Raises:
            NotFound: the project doesn't exist.
            InvalidField: ``wait`` is longer than a minute.
        """

        def work(session: WriteSession) -> Deleted:
            return delete_rows(session, ProjectRepository(session).get(project).id, ids)

        return await self._deleting(work, wait)

    async def delete_matching(self, project: str, filters: Filters, *, wait: float | None = None) -> Deleted:
        """Delete a project's extractions that pass the filters, all in one transaction.

        ``wait`` is as in :meth:`delete`.

        Raises:
            NotFound: the project doesn't exist.
            InvalidField: ``wait`` is longer than a minute.
            InvalidInput: a data filter can't be used.
        """

        def work(session: WriteSession) -> Deleted:
            project_id = ProjectRepository(session).get(project).id
            in_project = replace(filters, project_id=project_id)
            extractions = ExtractionRepository(session)
            ids, after = list[ExtractionId](), None
            while page := extractions.list_ids(in_project, after=after, limit=IDS_A_JOB):
                after = page[-1]
                ids += page
            return delete_rows(session, project_id, ids)

        return await self._deleting(work, wait)

    async def _deleting(self, work: Callable[[WriteSession], Deleted], wait: float | None) -> Deleted:
        check_wait(wait)
        deleted = await self._database.write(work)
        self._instruments.facts(Counts(removed=deleted.extractions))
        self._wakeup.set()
        return await with_waiting(self._database, deleted, wait)


def _retry_some(
    session: WriteSession, project: str, filters: Filters, after: ExtractionId | None
) -> tuple[JobId | None, int, ExtractionId | None]:
    """Retry the next thousand; return their job, their number, and the id to go on after."""
    project_id = ProjectRepository(session).get(project).id
    extractions = ExtractionRepository(session)
    chosen = replace(filters, project_id=project_id, set_aside=True)
    ids = extractions.list_ids(chosen, after=after, limit=IDS_A_JOB)
    if not ids:
        return None, 0, None
    job_id = queue_embedding(session, project_id, ids)
    return job_id, extractions.clear_set_aside_batch(ids), ids[-1] if len(ids) == IDS_A_JOB else None


def delete_rows(session: WriteSession, project_id: ProjectId, ids: Sequence[ExtractionId | str]) -> Deleted:
    """Delete a project's rows and queue their vectors' deletion, in the caller's transaction."""
    facts = FactRepository(session)
    # Lock all of them first: once the ledger has an entry, others wait for this transaction.
    facts.lock(ids)
    gone = list[ExtractionId]()
    for removed in facts.iter_removed(ids, project_id=project_id):
        gone += [fact.id for fact in removed]
        LedgerRepository(session).append(project_id, removed_by_source(removed).values())
    jobs = [queue_vectors_deletion(session, page, project_id) for page in pages(gone)]
    return Deleted(len(gone), jobs)


def removed_by_source(removed: Iterable[RemovedFact]) -> ChangesBySource:
    """The ledger changes that these removals make, by source."""
    found = ChangesBySource()
    for fact in removed:
        found[fact.source_id].removed.append(fact)
    return found
