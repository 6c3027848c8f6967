"""Sources: what extractions were taken from. A source may have no facts."""

from functools import partial

from app.database import Database, ReadSession, WriteSession
from app.domain.ids import SourceId
from app.domain.outcomes import Counts, Deleted
from app.domain.rows import SourceRow, SourceRows
from app.domain.sources import SourceFilters
from app.services.extractions import delete_rows
from app.services.jobs.waiting import check_wait, with_waiting
from app.services.metrics.instruments import Instruments, NullInstruments
from app.services.storage.repositories.facts import FactRepository
from app.services.storage.repositories.ledger import LedgerRepository, SourceChanges
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.source import SourceRepository
from app.services.wakeup import Wakeup

_PAGE = 1_000


class SourceService:
    """A project's sources."""

    def __init__(self, database: Database, wakeup: Wakeup, instruments: Instruments | None = None) -> None:
        self._database = database
        self._wakeup = wakeup
        self._instruments = instruments or NullInstruments()

    async def list(
        self, project: str, filters: SourceFilters, *, after: SourceId | None = None, limit: int = 100
    ) -> SourceRows:
        """A project's sources that pass the filters, by id: the next ``limit`` after ``after``.

        Raises:
            NotFound: the project doesn't exist.
        """

        def work(session: ReadSession) -> SourceRows:
            project_id = ProjectRepository(session).get(project).id
            return SourceRepository(session).list(project_id, filters, after=after, limit=limit)

        return await self._database.read(work)

    async def get(self, project: str, source_id: SourceId) -> SourceRow:
        """One source.

        Raises:
            NotFound: the project or the source doesn't exist.
        """

        def work(session: ReadSession) -> SourceRow:
            return SourceRepository(session).get(ProjectRepository(session).get(project).id, source_id)

        return await self._database.read(work)

    async def delete(self, project: str, source_id: SourceId, *, wait: float | None = None) -> Deleted:
        """Delete a source with its extractions; queue their vectors' deletion in the transaction.

        With ``wait``, it returns when the jobs have ended, or after that many seconds; the result's
        ``waited`` says which.

        Raises:
            NotFound: the project or the source doesn't exist.
            InvalidField: ``wait`` is longer than a minute.
        """
        check_wait(wait)

        def work(session: WriteSession) -> Deleted:
            project_id = ProjectRepository(session).get(project).id
            ProjectRepository(session).hold_sources(project_id)
            SourceRepository(session).lock([source_id])
            row = SourceRepository(session).get(project_id, source_id)
            deleted = delete_rows(
                session, project_id, list(FactRepository(session).find_of_sources([source_id]))
            )
            SourceRepository(session).delete_empty([source_id])
            LedgerRepository(session).append(project_id, [SourceChanges(source_id, deleted=row)])
            return deleted

        deleted = await self._database.write(work)
        self._instruments.facts(Counts(removed=deleted.extractions))
        self._wakeup.set()
        return await with_waiting(self._database, deleted, wait)

    async def prune(self, project: str) -> int:
        """Delete a project's sources that have no extractions, and return how many.

        Raises:
            NotFound: the project doesn't exist.
        """
        pruned, after = 0, None
        while True:
            page = await self.list(project, SourceFilters(gone=True), after=after, limit=_PAGE)
            if not page:
                return pruned
            after = page[-1].id
            pruned += await self._database.write(partial(_prune, page=page))


def _prune(session: WriteSession, page: SourceRows) -> int:
    ids = [row.id for row in page]
    ProjectRepository(session).hold_sources(page[0].project_id)
    gone = SourceRepository(session).delete_empty(ids)
    changes = [SourceChanges(row.id, deleted=row) for row in page if row.id in gone]
    LedgerRepository(session).append(page[0].project_id, changes)
    return len(gone)
