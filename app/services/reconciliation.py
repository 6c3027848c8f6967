"""Compare the two stores, and mend the difference."""

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace

from app.database import Database, WriteSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId, parse_extraction_id, project_id_of
from app.errors import QdrantError
from app.services.indexing import IndexingService, embed_returned, existing_ids
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.reindexing import index_orphans
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.storage.repositories.extraction import ExtractionRepository, Mark


@dataclass(frozen=True, slots=True)
class Differences:
    """What a comparison has found so far.

    ``orphans`` are rows without a vector, ``ghosts`` vectors without a row, ``missing`` rows that are marked as
    indexed but have no vector. Rows that were set aside because they can't be embedded are counted apart and
    are no difference. The ``mended_`` counts say how many of each a repair has dealt with.
    """

    extractions: int = 0
    points: int = 0
    orphans: int = 0
    ghosts: int = 0
    missing: int = 0
    set_aside: int = 0
    mended_orphans: int = 0
    mended_ghosts: int = 0
    mended_missing: int = 0
    left: int | None = None

    @property
    def remaining(self) -> int:
        """How many differences are left: all that were found, or what a finished repair has counted anew."""
        return self.orphans + self.ghosts + self.missing if self.left is None else self.left

    def as_dict(self) -> dict[str, int]:
        """The counts, and how many differences remain."""
        counts = {name: count for name, count in asdict(self).items() if name != "left"}
        return {**counts, "remaining": self.remaining}


class ReconciliationService:
    """Streams through both stores a page at a time, in memory bounded by the page."""

    def __init__(
        self, database: Database, qdrant: QdrantRepository, indexing: IndexingService, *, batch_size: int
    ) -> None:
        self._database = database
        self._qdrant = qdrant
        self._indexing = indexing
        self._batch_size = batch_size

    async def run(
        self, *, repair: bool = False, project: str | None = None, unit: UnitOfWork | None = None
    ) -> AsyncIterator[Differences]:
        """Compare every row and every vector, yielding the state after each page; the last is the outcome.

        With ``repair``, ghosts are deleted, and missing and orphaned extractions embedded again. With a
        ``project``, only its rows and vectors are looked at. A repair writes to SQL through ``unit``; None is
        without a lease.

        Raises:
            InvalidField: that is no project name.
        """
        project_id = None if project is None else project_id_of(project)
        repairing = (unit or UnfencedUnitOfWork(self._database)) if repair else None
        state = Differences()
        async for after_rows in self._compare_rows(state, project_id, repairing):
            yield (state := after_rows)
        async for after_points in self._compare_points(state, project_id, repairing):
            yield (state := after_points)
        if repairing is not None:
            async for after_mending in self._mend_orphans(state, project_id, repairing):
                yield (state := after_mending)
            # Counted anew, because others may have stored and indexed meanwhile.
            left = await self._database.read(
                lambda session: ExtractionRepository(session).count_orphaned(project_id)
            )
            yield replace(state, left=left)

    async def verify(self, job: RunningJob) -> Done:
        """The handler of ``verify``: its result says what differs."""
        return await self._run_as(job, repair=False)

    async def repair(self, job: RunningJob) -> Done:
        """The handler of ``repair``: mends what differs; its result says what was found and mended."""
        return await self._run_as(job, repair=True)

    async def _run_as(self, job: RunningJob, *, repair: bool) -> Done:
        """A repair writes only while the lease holds: it would clear marks that its successor has set."""
        found = Differences()
        async for found in self.run(repair=repair, project=job.payload.get("project"), unit=job):
            await job.report(done=found.extractions + found.points)
        return Done(found.as_dict())

    async def _compare_rows(
        self, state: Differences, project_id: ProjectId | None, unit: UnitOfWork | None
    ) -> AsyncIterator[Differences]:
        async for page in self._marks(project_id):
            marked = [mark.id for mark in page if mark.embedding_id is not None]
            held = await self._qdrant.existing_ids([str(id_) for id_ in marked])
            missing = [id_ for id_ in marked if str(id_) not in held]
            if missing and unit is not None:
                await self._clear_marks(missing, unit)
            set_aside = sum(mark.set_aside for mark in page)
            state = replace(
                state,
                extractions=state.extractions + len(page),
                missing=state.missing + len(missing),
                set_aside=state.set_aside + set_aside,
                orphans=state.orphans + len(page) - len(marked) - set_aside,
            )
            yield state

    async def _compare_points(
        self, state: Differences, project_id: ProjectId | None, unit: UnitOfWork | None
    ) -> AsyncIterator[Differences]:
        filters = None if project_id is None else Filters(project_id=project_id)
        async for page in self._qdrant.iter_ids(self._batch_size, filters):
            ids = [_extraction_of(point) for point in page]
            known = await existing_ids(self._database, ids)
            ghosts = [str(id_) for id_ in ids if id_ not in known]
            if ghosts and unit is not None:
                await self._delete(ghosts, unit)
            state = replace(
                state,
                points=state.points + len(page),
                ghosts=state.ghosts + len(ghosts),
                mended_ghosts=state.mended_ghosts + (0 if unit is None else len(ghosts)),
            )
            yield state

    async def _clear_marks(self, missing: list[ExtractionId], unit: UnitOfWork) -> None:
        await unit.save(lambda session: ExtractionRepository(session).clear_embedding_ids_batch(missing))

    async def _delete(self, ghosts: list[str], unit: UnitOfWork) -> None:
        """Of a row that has come meanwhile, the vector that is deleted may be the new one."""
        await self._qdrant.delete_batch(ghosts)

        def queue_returned(session: WriteSession) -> None:
            embed_returned(session, ghosts)

        await unit.save(queue_returned, compensation=queue_returned)

    async def _mend_orphans(
        self, state: Differences, project_id: ProjectId | None, unit: UnitOfWork
    ) -> AsyncIterator[Differences]:
        """The missing were made orphans when they were found, so this mends both kinds."""
        async for indexed in index_orphans(self._database, self._indexing, self._batch_size, unit, project_id):
            done = indexed.indexed + indexed.set_aside
            missing = min(done, state.missing - state.mended_missing)
            orphans = min(done - missing, state.orphans - state.mended_orphans)
            state = replace(
                state,
                mended_missing=state.mended_missing + missing,
                mended_orphans=state.mended_orphans + orphans,
                set_aside=state.set_aside + indexed.set_aside,
            )
            yield state

    async def _marks(self, project_id: ProjectId | None) -> AsyncIterator[list[Mark]]:
        after: ExtractionId | None = None
        while page := await self._page_after(after, project_id):
            yield page
            after = page[-1].id

    async def _page_after(self, after: ExtractionId | None, project_id: ProjectId | None) -> list[Mark]:
        return await self._database.read(
            lambda session: ExtractionRepository(session).page_after(
                after, self._batch_size, project_id=project_id
            )
        )


def _extraction_of(point: str) -> ExtractionId:
    try:
        return parse_extraction_id(point)
    except ValueError:
        reason = f"it holds the point {point}, whose id is no extraction's; other points need a collection of their own"
        raise QdrantError("be compared with SQL", "extractions", reason) from None
