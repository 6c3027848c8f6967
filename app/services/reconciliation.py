"""Compare SQL with Qdrant, and repair the differences."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import aclosing
from dataclasses import replace
from uuid import UUID

from app.database import Database, ReadSession, WriteSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId, project_id_of
from app.domain.upkeep import Differences
from app.errors import IndexRebuilding
from app.models import IndexState
from app.services.index_use import IndexOwnership
from app.services.indexing import IndexingService
from app.services.jobs.queueing import queue_embedding_again
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.side_by_side import side_by_side
from app.services.storage.qdrant.ports import Payload
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.comparable import ComparableRow, comparable_rows
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.indexable import LabelsRow, labels_of
from app.services.vectors import payload_of
from app.services.words.indexing import WordDifferences, rewrite_words, words_that_differ


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
        """Compare all rows and vectors; yield the state after each page, the outcome last.

        With ``repair``, ghosts are deleted, and missing and orphaned extractions embedded again.
        With a ``project``, only its rows and vectors are compared. A repair writes to SQL through
        ``unit``; with None it writes without a lease.

        Raises:
            InvalidField: the project name is invalid.
            ForeignCollection: the collection belongs to another store.
            IndexRebuilding: the index is being rebuilt, or was rebuilt during the comparison.
        """
        await self._ownership.require("be compared with SQL")
        generation = await self._database.read(_generation)
        project_id = None if project is None else project_id_of(project)
        repairing = (unit or UnfencedUnitOfWork(self._database)) if repair else None
        state = Differences()
        async for compared in self._compare(generation, project_id, repairing):
            yield (state := compared)
        if repairing is not None:
            async for after_repairing in self._repair_orphans(state, project_id, repairing):
                yield (state := after_repairing)
            # Count again, because other processes may have stored and indexed meanwhile.
            left = await self._database.read(
                lambda session: ExtractionRepository(session).count_orphaned(project_id)
            )
            yield replace(state, left=left)

    async def verify(self, job: RunningJob) -> Done:
        """The handler of ``verify``: its result holds the differences."""
        return await self._run_as(job, repair=False)

    async def repair(self, job: RunningJob) -> Done:
        """The handler of ``repair``: its result holds the differences, and which it repaired."""
        return await self._run_as(job, repair=True)

    async def _run_as(self, job: RunningJob, *, repair: bool) -> Done:
        """Run under the job's lease: without it, a repair would clear marks its successor set."""
        found = Differences()
        async for found in self.run(repair=repair, project=job.payload.get("project"), unit=job):
            await job.report(done=found.extractions + found.points)
        return Done(found.as_dict())

    async def _compare(
        self, generation: int, project_id: ProjectId | None, unit: UnitOfWork | None
    ) -> AsyncIterator[Differences]:
        """Walk both stores in order of id; looking up each row's point would take twice as long."""
        state = Differences()
        filters = None if project_id is None else Filters(project_id=project_id)
        points = self._qdrant.iter_payloads(self._batch_size, filters)
        # Closed even after an error, because it has pages of both stores under way.
        async with aclosing(side_by_side(self._rows(generation, project_id), points)) as ranges:
            async for rows, payloads in ranges:
                state = await self._compare_rows(state, rows, payloads, generation, unit)
                state = await self._compare_points(state, payloads, rows, unit)
                yield state

    async def _compare_rows(
        self,
        state: Differences,
        rows: Mapping[str, ComparableRow],
        payloads: Mapping[str, Payload],
        generation: int,
        unit: UnitOfWork | None,
    ) -> Differences:
        marked = [row for row in rows.values() if row.marked]
        # A row and its point were read at different times, so compare those that differ again.
        different = [
            ExtractionId(UUID(row.id))
            for row in marked
            if _of_a_generation(payloads.get(row.id)) != payload_of(row, generation)
        ]
        missing, stale = await self._compare_payloads(different, generation) if different else ([], [])
        words = words_that_differ({row.id: row.words for row in rows.values()})
        if missing and unit is not None:
            await self._clear_marks(missing, generation, unit)
        if stale and unit is not None:
            await self._indexing.sync_payloads(stale, unit)
        await self._repair_words(words, unit)
        set_aside = sum(row.set_aside for row in rows.values())
        return replace(
            state,
            extractions=state.extractions + len(rows),
            missing=state.missing + len(missing),
            stale=state.stale + len(stale),
            repaired_stale=state.repaired_stale + (0 if unit is None else len(stale)),
            words_missing=state.words_missing + len(words.missing),
            words_stale=state.words_stale + len(words.stale),
            repaired_words_missing=state.repaired_words_missing + (0 if unit is None else len(words.missing)),
            repaired_words_stale=state.repaired_words_stale + (0 if unit is None else len(words.stale)),
            set_aside=state.set_aside + set_aside,
            orphans=state.orphans + len(rows) - len(marked) - set_aside,
        )

    async def _compare_points(
        self,
        state: Differences,
        points: Collection[str],
        rows: Collection[str],
        unit: UnitOfWork | None,
    ) -> Differences:
        unknown = [ExtractionId(UUID(id_)) for id_ in points if id_ not in rows]
        # Some may have rows that were stored since this page was read, or rows of another project.
        known = await self._existing(unknown) if unknown else set()
        ghosts = [id_ for id_ in unknown if id_ not in known]
        if ghosts and unit is not None:
            await self._delete(ghosts, unit)
        return replace(
            state,
            points=state.points + len(points),
            ghosts=state.ghosts + len(ghosts),
            repaired_ghosts=state.repaired_ghosts + (0 if unit is None else len(ghosts)),
        )

    async def _existing(self, ids: list[ExtractionId]) -> set[ExtractionId]:
        return await self._database.read(lambda session: ExtractionRepository(session).existing_ids(ids))

    async def _compare_payloads(
        self, marked: list[ExtractionId], generation: int
    ) -> tuple[list[ExtractionId], list[ExtractionId]]:
        """Ids without a vector of this generation, and ids whose payload differs from SQL."""
        held = await self._qdrant.payloads(marked)

        def read(session: ReadSession) -> list[LabelsRow]:
            _require_generation(IndexStateRepository(session).get(), generation)
            return labels_of(session, marked)

        rows = await self._database.read(read)
        wanted = {row.id: payload_of(row, generation) for row in rows}
        missing, stale = [], []
        for id_ in marked:
            point, row = _of_a_generation(held.get(id_)), wanted.get(str(id_))
            if row is None:
                continue  # deleted since its page was read
            if point is None or point["generation"] != generation:
                missing.append(id_)
            elif point != row:
                stale.append(id_)
        return missing, stale

    @staticmethod
    async def _repair_words(found: WordDifferences, unit: UnitOfWork | None) -> None:
        different = [*found.missing, *found.stale]
        if different and unit is not None:
            await unit.save(lambda session: rewrite_words(session, different))

    async def _clear_marks(self, missing: list[ExtractionId], generation: int, unit: UnitOfWork) -> None:
        """Clear marks, but only of this generation.

        A rebuild visits each row once, and would leave a row cleared after its visit without a
        mark.
        """

        def clear(session: WriteSession) -> None:
            _require_generation(IndexStateRepository(session).get_for_marking(), generation)
            ExtractionRepository(session).clear_embedding_ids_batch(missing)

        await unit.save(clear)

    async def _delete(self, ghosts: list[ExtractionId], unit: UnitOfWork) -> None:
        """Delete ghosts; embed rows stored meanwhile again, which may have lost their vectors."""
        await self._qdrant.delete_batch(ghosts)

        def queue_returned(session: WriteSession) -> None:
            queue_embedding_again(session, ghosts)

        await unit.save(queue_returned, compensation=queue_returned)

    async def _repair_orphans(
        self, state: Differences, project_id: ProjectId | None, unit: UnitOfWork
    ) -> AsyncIterator[Differences]:
        """Repair orphans and missing rows: the missing became orphans when they were found."""
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

    async def _rows(
        self, generation: int, project_id: ProjectId | None
    ) -> AsyncIterator[dict[str, ComparableRow]]:
        """Pages of rows by id, as long as the index has this generation."""
        after: str | None = None

        def read(session: ReadSession) -> list[ComparableRow]:
            _require_generation(IndexStateRepository(session).get(), generation)
            return comparable_rows(session, after, self._batch_size, project_id)

        while rows := await self._database.read(read):
            yield {row.id: row for row in rows}
            after = rows[-1].id


def _of_a_generation(point: Payload | None) -> Payload | None:
    """The point with its generation; points stored before these were recorded have the first."""
    return point if point is None else {"generation": 0, **point}


def _require_generation(state: IndexState | None, generation: int) -> None:
    if state is not None and (state.rebuilding or state.generation != generation):
        raise IndexRebuilding


def _generation(session: ReadSession) -> int:
    state = IndexStateRepository(session).get()
    if state is not None and state.rebuilding:
        raise IndexRebuilding
    return 0 if state is None else state.generation
