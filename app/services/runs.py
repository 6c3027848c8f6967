"""Runs: each is a named pass of a pipeline over its sources, with its changes; it can be undone."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from app.database import Database, ReadSession, WriteSession
from app.domain.ids import RunId, project_id_of
from app.domain.items import parse_label, parse_metadata
from app.domain.outcomes import Undone
from app.domain.rows import RunRow, RunRows
from app.errors import HistoryPruned, NotFound, shown_time
from app.services.metrics.instruments import Instruments, NullInstruments
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.run import RunRepository
from app.services.undoing import undo_entries
from app.services.wakeup import Wakeup

_ENTRIES = 100


class RunService:
    """A project's runs. A run is given by its id, or by its name: the newest of that name."""

    def __init__(self, database: Database, wakeup: Wakeup, instruments: Instruments | None = None) -> None:
        self._database = database
        self._wakeup = wakeup
        self._instruments = instruments or NullInstruments()

    async def begin(
        self,
        project: str,
        name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        run_id: RunId | None = None,
    ) -> RunRow:
        """Begin a run of a project, creating the project if it doesn't exist.

        Beginning the same ``run_id`` again is a no-op.

        Raises:
            InvalidField: the name is blank or too long, or the metadata is too large.
        """
        project_id = project_id_of(project)
        name = parse_label(name, "run")
        checked = parse_metadata(None if metadata is None else dict(metadata))

        def work(session: WriteSession) -> RunRow:
            ProjectRepository(session).get_or_create(project)
            runs = RunRepository(session)
            return runs.get(project_id, runs.begin(project_id, name, checked, run_id=run_id))

        return await self._database.write(work)

    async def end(self, project: str, run_id: RunId) -> RunRow:
        """End a run; it accepts no more changes.

        Raises:
            NotFound: the project or the run doesn't exist.
        """

        def work(session: WriteSession) -> RunRow:
            project_id = ProjectRepository(session).get(project).id
            runs = RunRepository(session)
            runs.end(runs.get(project_id, run_id).id)
            return runs.get(project_id, run_id)

        return await self._database.write(work)

    async def get(self, project: str, run: str) -> RunRow:
        """One run.

        Raises:
            NotFound: the project or the run doesn't exist.
        """
        return await self._database.read(lambda session: _find(session, project, run))

    async def list(
        self, project: str, *, after: tuple[datetime, RunId] | None = None, limit: int = 100
    ) -> RunRows:
        """A project's runs, the newest first: the next ``limit`` after (begun_at, id).

        Raises:
            NotFound: the project doesn't exist.
        """

        def work(session: ReadSession) -> RunRows:
            project_id = ProjectRepository(session).get(project).id
            return RunRepository(session).list(project_id, after=after, limit=limit)

        return await self._database.read(work)

    async def undo(self, project: str, run: str) -> Undone:
        """Restore everything to the state before a run, except what was changed later.

        The result names what was left alone. The undoing is a run too, and can be undone. It goes
        back over the run's entries a batch at a time, each batch in one transaction; call it again
        to continue after an interruption. If it is already undone, nothing changes, and the result
        names the run that has undone it.

        Raises:
            NotFound: the project or the run doesn't exist.
            HistoryPruned: parts of the run were pruned from the ledger.
        """
        undone = await self._database.write(lambda session: _begin_undoing(session, project, run))
        more, before = True, None
        while more:
            work = partial(undo_entries, undone=undone, before=before, limit=_ENTRIES)
            part, before = await self._database.write(work)
            undone += part
            self._instruments.facts(part.counts)
            more = before is not None
        undone = await self._database.write(lambda session: _end_undoing(session, undone))
        if undone.job_ids:
            self._wakeup.set()
        return undone


def _find(session: ReadSession | WriteSession, project: str, run: str) -> RunRow:
    project_id = ProjectRepository(session).get(project).id
    runs = RunRepository(session)
    run_id = _run_id(run)
    found = runs.find_named(project_id, run) if run_id is None else runs.get(project_id, run_id)
    if found is None:
        raise NotFound("run", run)
    return found


def _run_id(text: str) -> RunId | None:
    try:
        return RunId(UUID(text))
    except ValueError:
        return None


def _begin_undoing(session: WriteSession, project: str, run: str) -> Undone:
    row = _find(session, project, run)
    runs = RunRepository(session)
    first = runs.first_change(row.id)
    if first is not None and first <= ProjectRepository(session).get(project).pruned_through:
        raise HistoryPruned(f"run {row.name!r} of {shown_time(row.begun_at)}")
    runs.end(row.id)
    undoing = runs.begin(row.project_id, f"undo of {row.name}"[:200], undoes=row.id)
    return Undone(row.project_id, row.id, undoing)


def _end_undoing(session: WriteSession, undone: Undone) -> Undone:
    """End the undo's run, or forget it if it changed nothing and an earlier undo still stands."""
    runs = RunRepository(session)
    if runs.first_change(undone.undo_run_id) is None:
        earlier = runs.standing_undoing_of(undone.run_id)
        if earlier is not None:
            runs.delete(undone.undo_run_id)
            return replace(undone, undo_run_id=earlier, already=True)
    runs.end(undone.undo_run_id)
    return undone
