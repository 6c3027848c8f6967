"""Indexes on paths of the facts' documents: made and dropped as the settings say, filled and emptied by jobs."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple

from app.database import Database, WriteSession
from app.domain.filters import Filters
from app.domain.jobs import JobType
from app.errors import DatabaseUnavailable
from app.intake.where_text import parse_index_paths
from app.retry import GaveUp, RetryPolicy, retrying
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnfencedUnitOfWork, UnitOfWork
from app.services.storage.repositories.data_indexes import DataIndexRepository, IndexRow, IndexState
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facts import FactRepository
from app.services.storage.repositories.job import JobRepository

_PAGE = 500
_BEHIND_LONG_WRITES = RetryPolicy(total_s=60.0, first_delay_s=1.0)


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
    """How far an index is, of so many facts; ``total`` is None for keys that are deleted, which aren't counted before."""

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
        if there.keys() == set(paths):  # so that no writer waits
            return Arranged(kept=list(there))

        async def attempt(_left_s: float) -> Arranged:
            return await self._database.write(partial(_arrange, paths=paths))

        try:
            return await retrying(_BEHIND_LONG_WRITES, attempt, retry_after=_passing)
        except GaveUp as gave_up:
            raise gave_up.__cause__ or gave_up from None

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
        """All that are as far, together, since reading facts takes longest. One page a transaction: other writers wait no
        longer than that takes.
        """
        paths, numbers = ", ".join(each.path for each in indexes), {each.number for each in indexes}
        total = await self._database.read(lambda session: ExtractionRepository(session).count())
        done, more = 0, True
        while more:
            facts, more = await unit.save(partial(_fill_page, numbers=numbers))
            done += facts
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


def _passing(error: Exception) -> float | None:
    """A transaction that writes for long is behind it."""
    return 0.0 if isinstance(error, DatabaseUnavailable) else None


def _fill_page(session: WriteSession, numbers: Collection[int]) -> tuple[int, bool]:
    """The keys of the next facts by id; returns how many, and whether there may be more. Without any, an index is ready.

    Of the indexes that aren't dropped or ready yet, those are filled that are least far. Where two
    processes fill, one waits for the other's page, and goes on after it.
    """
    repository = DataIndexRepository(session)
    filling = repository.lock_of(numbers, IndexState.FILLING)
    if not filling:
        return 0, False
    after = min((each.filled_to for each in filling), key=lambda to: "" if to is None else str(to))
    indexes = [each for each in filling if each.filled_to == after]
    ids = ExtractionRepository(session).list_ids(Filters(), after=after, limit=_PAGE)
    FactRepository(session).lock(ids)
    for some in repository.iter_facts(ids):
        repository.rewrite(some, indexes)
    state = IndexState.FILLING if ids else IndexState.READY
    for index in indexes:
        repository.set_state(index.number, state, ids[-1] if ids else None)
    return len(ids), bool(ids) or len(indexes) < len(filling)
