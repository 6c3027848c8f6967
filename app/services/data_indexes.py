"""Indexes on paths of the facts' documents: made and dropped as the settings say, filled and emptied by jobs."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.database import Database, WriteSession
from app.domain.filters import Filters
from app.domain.jobs import JobType
from app.errors import DatabaseUnavailable
from app.intake.where_text import parse_index_paths
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.storage.repositories.data_indexes import DataIndexRepository, IndexRow, IndexState
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facts import FactRepository
from app.services.storage.repositories.job import JobRepository

_PAGE = 500
_TRIES = 30
_PAUSE_S = 1.0


@dataclass(slots=True)
class Arranged:
    """The paths whose index was made, dropped and kept, each written as in a condition."""

    made: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


class Progress(NamedTuple):
    """How far an index is: of so many facts, or keys that are deleted, of which nobody has counted how many there are."""

    path: str
    done: int
    total: int | None


class DataIndexing:
    """Makes and drops indexes. Facts that are stored from then on have their keys at once, the others by a job."""

    def __init__(self, database: Database, *, paths: Sequence[str]) -> None:
        self._database = database
        self._paths = paths

    async def arrange(self) -> Arranged:
        """Make the indexes that the settings name and drop all others; a job ``index_data`` then fills or empties each.

        Raises:
            InvalidField: one of the paths spells none; nothing has changed.
        """
        paths = parse_index_paths(self._paths)
        there = await self._database.read(lambda session: _there(DataIndexRepository(session)))
        if there.keys() == set(paths):  # so that nobody who writes waits
            return Arranged(kept=list(there))
        for _ in range(_TRIES):
            try:
                return await self._database.write(partial(_arrange, paths=paths))
            except DatabaseUnavailable:  # somebody has written for long
                await asyncio.sleep(_PAUSE_S)
        return await self._database.write(partial(_arrange, paths=paths))

    async def carry_out(self) -> AsyncIterator[Progress]:
        """Fill and empty all indexes here, which their jobs do too; what is interrupted is left to them."""
        for index in await self._database.read(lambda session: DataIndexRepository(session).list()):
            async for progress in self._bring_on(index.number, UnfencedUnitOfWork(self._database)):
                yield progress

    async def index_data(self, job: RunningJob) -> Done:
        """The handler of ``index_data``. An attempt that was cut short is gone on with where it was."""
        progress = Progress("", 0, None)
        async for progress in self._bring_on(job.payload["number"], job):
            job.note_progress(done=progress.done, total=progress.total)
        return Done({"done": progress.done})

    async def _bring_on(self, number: int, unit: UnitOfWork) -> AsyncIterator[Progress]:
        indexes = await self._database.read(lambda session: DataIndexRepository(session).list())
        index = next((each for each in indexes if each.number == number), None)
        if index is None or index.state is IndexState.READY:
            return
        alike = [each for each in indexes if (each.state, each.filled_to) == (index.state, index.filled_to)]
        steps = self._empty(index, unit) if index.state is IndexState.DROPPING else self._fill(alike, unit)
        async for progress in steps:
            yield progress

    async def _fill(self, indexes: Sequence[IndexRow], unit: UnitOfWork) -> AsyncIterator[Progress]:
        """All that are as far, together, since reading facts takes longest. One page a transaction, so that nobody else
        who writes waits longer than that takes.
        """
        paths, numbers = ", ".join(each.path for each in indexes), {each.number for each in indexes}
        total = await self._database.read(lambda session: ExtractionRepository(session).count())
        done, more = 0, True
        while more:
            facts = await unit.save(partial(_fill_page, numbers=numbers))
            done, more = done + facts, facts > 0
            yield Progress(paths, done, max(done, total))

    async def _empty(self, index: IndexRow, unit: UnitOfWork) -> AsyncIterator[Progress]:
        done, more = 0, True
        while more:
            some = await unit.save(lambda session: DataIndexRepository(session).delete_some_keys(index.number))
            done, more = done + some, some > 0
            yield Progress(index.path, done, None)


def _arrange(session: WriteSession, paths: Sequence[str]) -> Arranged:
    indexes, jobs = DataIndexRepository(session), JobRepository(session)
    indexes.lock()
    there = _there(indexes)
    arranged = Arranged(kept=[path for path in there if path in paths])
    for path, number in there.items():
        if path not in paths:
            indexes.set_state(number, IndexState.DROPPING)
            arranged.dropped.append(path)
            _queue(jobs, number)
    for path in paths:
        if path not in there:
            _queue(jobs, indexes.create(path))
            arranged.made.append(path)
    return arranged


def _there(indexes: DataIndexRepository) -> dict[str, int]:
    """The numbers of the indexes that aren't dropped, by path."""
    return {row.path: row.number for row in indexes.list() if row.state is not IndexState.DROPPING}


def _queue(jobs: JobRepository, number: int) -> None:
    jobs.create(JobType.INDEX_DATA, {"number": number})


def _fill_page(session: WriteSession, numbers: Collection[int]) -> int:
    """The keys of the next facts by id; returns how many. The indexes are ready when there are none.

    Of the indexes that aren't dropped or ready yet, those are filled that are least far. Where two processes fill, one
    waits for the other's page, and goes on after it.
    """
    repository = DataIndexRepository(session)
    filling = repository.lock_of(numbers, IndexState.FILLING)
    if not filling:
        return 0
    after = min((each.filled_to for each in filling), key=lambda to: "" if to is None else str(to))
    indexes = [each for each in filling if each.filled_to == after]
    ids = ExtractionRepository(session).list_ids(Filters(), after=after, limit=_PAGE)
    FactRepository(session).lock(ids)
    for some in repository.iter_facts(ids):
        repository.rewrite(some, indexes)
    state = IndexState.FILLING if ids else IndexState.READY
    for index in indexes:
        repository.set_state(index.number, state, ids[-1] if ids else None)
    return len(ids) or (_fill_page(session, numbers) if len(indexes) < len(filling) else 0)
