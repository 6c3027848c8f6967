"""Compare the two stores, and repair the difference."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from app.database import Database, ReadSession, WriteSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId, project_id_of
from app.domain.upkeep import Differences
from app.errors import IndexRebuilding
from app.models import IndexState
from app.services.index_use import IndexOwnership
from app.services.indexing import IndexingService, embed_returned, existing_ids, payload_of
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository, Mark
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.indexable import LabelsRow, labels_of
from app.services.words.indexing import WordDifferences, rewrite_words, word_differences


class ReconciliationService:
    """Streams through both stores a page at a time, in memory bounded by the page."""

    def __init__(
        self, database: Database, qdrant: QdrantRepository, indexing: IndexingService, *, batch_size: int
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._ownership = IndexOwnership(database, qdrant)
        self._indexing = indexing
        self._batch_size = batch_size

    async def run(
        self, *, repair: bool = False, project: str | None = None, unit: UnitOfWork | None = None
    ) -> AsyncIterator[Differences]:
        """Compare every row and every vector, yielding the state after each page; the last is the outcome.

        With ``repair``, ghosts are deleted, and missing and orphaned extractions embedded again.
        With a ``project``, only its rows and vectors are looked at. A repair writes to SQL through
        ``unit``; None is without a lease.

        Raises:
            InvalidField: that is no project name.
            ForeignCollection: the collection is another store's.
            IndexRebuilding: there is nothing to compare with while the index is being rebuilt, or
                it was meanwhile.
        """
        await self._ownership.require("be compared with SQL")
        generation = await self._database.read(_generation)
        project_id = None if project is None else project_id_of(project)
        repairing = (unit or UnfencedUnitOfWork(self._database)) if repair else None
        state = Differences()
        async for after_rows in self._compare_rows(state, generation, project_id, repairing):
            yield (state := after_rows)
        async for after_points in self._compare_points(state, project_id, repairing):
            yield (state := after_points)
        if repairing is not None:
            async for after_repairing in self._repair_orphans(state, project_id, repairing):
                yield (state := after_repairing)
            # Counted anew, because others may have stored and indexed meanwhile.
            left = await self._database.read(
                lambda session: ExtractionRepository(session).count_orphaned(project_id)
            )
            yield replace(state, left=left)

    async def verify(self, job: RunningJob) -> Done:
        """The handler of ``verify``: its result says what differs."""
        return await self._run_as(job, repair=False)

    async def repair(self, job: RunningJob) -> Done:
        """The handler of ``repair``: repairs what differs; its result says what was found and repaired."""
        return await self._run_as(job, repair=True)

    async def _run_as(self, job: RunningJob, *, repair: bool) -> Done:
        """A repair writes only while the lease holds: it would clear marks that its successor has set."""
        found = Differences()
        async for found in self.run(repair=repair, project=job.payload.get("project"), unit=job):
            await job.report(done=found.extractions + found.points)
        return Done(found.as_dict())

    async def _compare_rows(
        self,
        state: Differences,
        generation: int,
        project_id: ProjectId | None,
        unit: UnitOfWork | None,
    ) -> AsyncIterator[Differences]:
        async for page in self._marks(project_id):
            marked = [mark.id for mark in page if mark.embedding_id is not None]
            ids = [mark.id for mark in page]
            # At once, because each of the stores would wait for the other.
            (missing, stale), words = await asyncio.gather(
                self._compare_payloads(marked, generation), self._word_differences(ids)
            )
            if missing and unit is not None:
                await self._clear_marks(missing, generation, unit)
            if stale and unit is not None:
                await self._indexing.sync_payloads(stale, unit)
            await self._repair_words(words, unit)
            set_aside = sum(mark.set_aside for mark in page)
            state = replace(
                state,
                extractions=state.extractions + len(page),
                missing=state.missing + len(missing),
                stale=state.stale + len(stale),
                repaired_stale=state.repaired_stale + (0 if unit is None else len(stale)),
                words_missing=state.words_missing + len(words.missing),
                words_stale=state.words_stale + len(words.stale),
                repaired_words_missing=state.repaired_words_missing
                + (0 if unit is None else len(words.missing)),
                repaired_words_stale=state.repaired_words_stale + (0 if unit is None else len(words.stale)),
                set_aside=state.set_aside + set_aside,
                orphans=state.orphans + len(page) - len(marked) - set_aside,
            )
            yield state

    async def _compare_payloads(
        self, marked: list[ExtractionId], generation: int
    ) -> tuple[list[ExtractionId], list[ExtractionId]]:
        """Those that have no vector of this generation, and those whose vector's payload isn't what SQL says."""
        held = await self._qdrant.payloads(marked)

        def read(session: ReadSession) -> list[LabelsRow]:
            _require_generation(IndexStateRepository(session).get(), generation)
            return labels_of(session, marked)

        rows = await self._database.read(read)
        wanted = {row.id: payload_of(row, generation) for row in rows}
        missing, stale = [], []
        for id_ in marked:
            point, row = held.get(id_), wanted.get(str(id_))
            if row is None:
                continue  # deleted since its page was read
            # A point of before generations were noted is of the first.
            if point is None or point.get("generation", 0) != generation:
                missing.append(id_)
            elif {**point, "generation": generation} != row:
                stale.append(id_)
        return missing, stale

    async def _word_differences(self, ids: list[ExtractionId]) -> WordDifferences:
        return await self._database.read(lambda session: word_differences(session, ids))

    @staticmethod
    async def _repair_words(found: WordDifferences, unit: UnitOfWork | None) -> None:
        different = [*found.missing, *found.stale]
        if different and unit is not None:
            await unit.save(lambda session: rewrite_words(session, different))

    async def _compare_points(
        self, state: Differences, project_id: ProjectId | None, unit: UnitOfWork | None
    ) -> AsyncIterator[Differences]:
        filters = None if project_id is None else Filters(project_id=project_id)
        async for page in self._qdrant.iter_ids(self._batch_size, filters):
            known = await existing_ids(self._database, page)
            ghosts = [id_ for id_ in page if id_ not in known]
            if ghosts and unit is not None:
                await self._delete(ghosts, unit)
            state = replace(
                state,
                points=state.points + len(page),
                ghosts=state.ghosts + len(ghosts),
                repaired_ghosts=state.repaired_ghosts + (0 if unit is None else len(ghosts)),
            )
            yield state

    async def _clear_marks(self, missing: list[ExtractionId], generation: int, unit: UnitOfWork) -> None:
        """Of no other generation: a rebuild passes each row once, and would leave it without a mark."""

        def clear(session: WriteSession) -> None:
            _require_generation(IndexStateRepository(session).get_for_marking(), generation)
            ExtractionRepository(session).clear_embedding_ids_batch(missing)

        await unit.save(clear)

    async def _delete(self, ghosts: list[ExtractionId], unit: UnitOfWork) -> None:
        """Of a row that has come meanwhile, the vector that is deleted may be the new one."""
        await self._qdrant.delete_batch(ghosts)

        def queue_returned(session: WriteSession) -> None:
            embed_returned(session, ghosts)

        await unit.save(queue_returned, compensation=queue_returned)

    async def _repair_orphans(
        self, state: Differences, project_id: ProjectId | None, unit: UnitOfWork
    ) -> AsyncIterator[Differences]:
        """The missing were made orphans when they were found, so this repairs both kinds."""
        async for indexed in self._indexing.index_orphans(unit, project_id):
            done = indexed.indexed + indexed.set_aside
            missing = min(done, state.missing - state.repaired_missing)
            orphans = min(done - missing, state.orphans - state.repaired_orphans)
            state = replace(
                state,
                repaired_missing=state.repaired_missing + missing,
                repaired_orphans=state.repaired_orphans + orphans,
                set_aside=state.set_aside + indexed.set_aside,
                cut=state.cut + indexed.cut,
            )
            yield state

    async def _marks(self, project_id: ProjectId | None) -> AsyncIterator[list[Mark]]:
        """Page by page; the next is read while one is compared."""
        page = await self._page_after(None, project_id)
        while page:
            following = asyncio.create_task(self._page_after(page[-1].id, project_id))
            try:
                yield page
                page = await following
            finally:
                following.cancel()

    async def _page_after(self, after: ExtractionId | None, project_id: ProjectId | None) -> list[Mark]:
        return await self._database.read(
            lambda session: ExtractionRepository(session).page_after(
                after, self._batch_size, project_id=project_id
            )
        )


def _require_generation(state: IndexState | None, generation: int) -> None:
    if state is not None and (state.rebuilding or state.generation != generation):
        raise IndexRebuilding


def _generation(session: ReadSession) -> int:
    state = IndexStateRepository(session).get()
    if state is not None and state.rebuilding:
        raise IndexRebuilding
    return 0 if state is None else state.generation
