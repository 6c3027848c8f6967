"""The worker's loop: each turn settles ended jobs and claims new ones, in one transaction."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack

from app.database import Database, WriteSession
from app.domain.jobs import JobStatus
from app.errors import AgentStorageError
from app.executor import Lane
from app.retry import RetryPolicy
from app.services.jobs.running import Handler, RunningJob
from app.services.metrics.instruments import Instruments
from app.services.storage.repositories.job import CHANNEL
from app.services.storage.repositories.lease import ClaimedJob, LeaseRepository
from app.services.wakeup import Wakeup
from app.settings.sections import WorkerSettings
from app.worker.attempts import Attempts
from app.worker.heartbeat import beside, keep_leases
from app.worker.listener import Listener
from app.worker.maintenance import maintain_jobs, prune_ledgers
from app.worker.outcomes import Completed, Outcome, settlement_of

logger = logging.getLogger(__name__)

_SETTLING_S = 5.0
"""How long the last settling may take after the shutdown timeout, if the database is silent."""

_TROUBLED = RetryPolicy(total_s=1.0, first_delay_s=0.2, max_delay_s=5.0)


class Worker:
    """Runs jobs on one event loop, ``settings.concurrency`` at once.

    Claims are leases, which the heartbeat renews. ``handlers`` has a handler for each type to
    claim; connections to PostgreSQL for listening are opened on ``lane``. ``exclusive`` means that
    no other process can run jobs on these stores (the embedded engine admits one process).
    ``listening`` means that a connection to PostgreSQL reaches the server itself, so that
    notifications arrive; jobs are also found by polling.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a separate part or setting
        self,
        database: Database,
        lane: Lane,
        handlers: Mapping[str, Handler],
        wakeup: Wakeup,
        instruments: Instruments,
        settings: WorkerSettings,
        *,
        exclusive: bool,
        listening: bool = True,
        keep_history_s: float = 30 * 86_400.0,
    ) -> None:
        self._database = database
        self._lane = lane
        self._types = sorted(handlers)
        self._wakeup = wakeup
        self._settings = settings
        self._exclusive = exclusive
        self._keep_history_s = keep_history_s
        self._listening = listening and database.dialect == "postgresql"
        self._attempts = Attempts(database, handlers, settings, instruments)
        self._running: dict[asyncio.Task[Outcome], RunningJob] = {}
        self._ended: list[Outcome] = []
        self._news = asyncio.Event()
        self._stopping = False
        self._deadline = 0.0
        self._turning: asyncio.Timeout | None = None

    def stop(self) -> None:
        """Claim no more jobs; :meth:`run` returns when the running ones have ended.

        Those that don't end in time are handed back. Call it on the worker's event loop.
        """
        if self._stopping:
            return
        self._stopping = True
        self._deadline = asyncio.get_running_loop().time() + self._settings.shutdown_timeout
        if self._turning is not None:
            self._turning.reschedule(self._deadline)
        self._news.set()

    async def recover(self) -> int:
        """Expire the leases that a dead process left, so that its jobs can be claimed at once.

        Call it before claiming any job. Returns how many there were; 0 if other processes may be
        running jobs.
        """
        if not self._exclusive:
            return 0
        return await self._database.write(lambda session: LeaseRepository(session).expire_all())

    async def run(self) -> None:
        """Claim and run jobs until :meth:`stop`.

        Running jobs then have ``settings.shutdown_timeout`` to end; the others go back into the
        queue. While the database is unavailable, it retries after pauses.
        """
        async with AsyncExitStack() as stack:
            self._news = stack.enter_context(self._wakeup.listening())
            lease_s, keep_s = self._settings.lease_timeout, self._settings.keep_finished
            besides = [
                keep_leases(self._database, self._running.values, lease_s),
                maintain_jobs(self._database, keep_s),
                prune_ledgers(self._database, self._keep_history_s),
            ]
            if self._listening:
                listener = Listener(self._database.engine, self._lane, CHANNEL, self._news.set)
                besides.append(listener.run())
            for each in besides:
                await stack.enter_async_context(beside(each))
            await self._take_turns_until_stopped()
            await self._wind_up()

    async def run_one(self, types: Collection[str] | None = None) -> Completed | None:
        """Claim the most urgent job of these types, run it and settle it; None if none is due.

        If the job fails, its error is raised; if the error may be transient, the job is back in the
        queue at once.
        """
        wanted = sorted(types or self._types)
        claimed = await self._database.write(
            lambda session: LeaseRepository(session).claim(
                wanted, limit=1, lease_s=self._settings.lease_timeout
            )
        )
        if not claimed:
            return None
        job = RunningJob(claimed[0], self._database, self._settings.lease_timeout)
        async with beside(keep_leases(self._database, lambda: (job,), self._settings.lease_timeout)):
            outcome = await self._attempts.run(job)
            await asyncio.shield(self._settle_at_once(outcome))
        if not isinstance(outcome, Completed):
            raise outcome.error
        return outcome

    async def _take_turns_until_stopped(self) -> None:
        try:
            async with asyncio.timeout(None) as self._turning:
                await self._take_turns()
        except TimeoutError:
            logger.warning(
                "the database gave no answer until the end; jobs that it may have claimed are left to others"
            )
        finally:
            self._turning = None

    async def _take_turns(self) -> None:
        troubles = 0
        while not self._stopping:
            self._news.clear()
            room = self._settings.concurrency - len(self._running)
            try:
                claimed = await self._turn(room)
            except Exception as error:  # noqa: BLE001 - after any error, the other jobs go on
                troubles += 1
                _log_failure("can't claim or settle jobs, and will try again", error)
                if not getattr(error, "retryable", False):
                    await self._settle_one_by_one()
                await asyncio.sleep(_TROUBLED.pause_s(troubles))
                continue
            troubles = 0
            for job in claimed:
                self._start(job)
            await self._pause()

    async def _pause(self) -> None:
        """Wait for a notification or for the poll interval."""
        try:
            async with asyncio.timeout(self._settings.poll_interval):
                await self._news.wait()
        except TimeoutError:
            return

    async def _turn(self, room: int, timeout_s: float | None = None) -> list[ClaimedJob]:
        """Settle ended attempts and claim up to ``room`` jobs; if it fails, keep the ended ones."""
        if not room and not self._ended:
            return []
        ended, self._ended = self._ended, []
        settlements = [settlement for each in ended if (settlement := settlement_of(each)) is not None]

        def work(session: WriteSession) -> tuple[int, list[ClaimedJob]]:
            leases = LeaseRepository(session)
            claimed = (
                leases.claim(self._types, limit=room, lease_s=self._settings.lease_timeout) if room else []
            )
            return len(leases.settle(settlements)), claimed

        try:
            # Exempt, because requests that keep the lane full must not stop the jobs.
            settled, claimed = await self._database.write(
                work, timeout_s=timeout_s, exempt_from_max_waiting=True
            )
        except BaseException:
            self._ended = ended + self._ended
            raise
        if settled < len(settlements):
            logger.warning(
                "%d jobs were taken over; their outcome is another worker's", len(settlements) - settled
            )
        return claimed

    def _start(self, claimed: ClaimedJob) -> None:
        job = RunningJob(claimed, self._database, self._settings.lease_timeout)
        attempt = asyncio.create_task(self._attempts.run(job))
        self._running[attempt] = job
        attempt.add_done_callback(self._note_end)

    def _note_end(self, attempt: asyncio.Task[Outcome]) -> None:
        del self._running[attempt]
        if not attempt.cancelled():
            self._ended.append(attempt.result())
        self._news.set()

    async def _wind_up(self) -> None:
        """Wait for running jobs to end and settle them; hand back those that don't end in time."""
        loop = asyncio.get_running_loop()
        while self._running and (left_s := self._deadline - loop.time()) > 0:
            await asyncio.wait(self._running, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            await self._settle_what_ended(max(_SETTLING_S, self._deadline - loop.time()))
        for attempt in self._running:
            attempt.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await asyncio.sleep(0)  # so that their done callbacks run
        await self._settle_what_ended(_SETTLING_S)

    async def _settle_what_ended(self, timeout_s: float) -> None:
        try:
            await self._turn(0, timeout_s)
        except AgentStorageError as error:
            logger.warning("can't settle %d jobs, which will run again: %s", len(self._ended), error)

    async def _settle_one_by_one(self) -> None:
        """Settle separately, so that one outcome that can't be written doesn't block the others.

        Its job runs again when its lease has expired.
        """
        ended, self._ended = self._ended, []
        for each in ended:
            try:
                await self._settle_at_once(each, delayed=True)
            except Exception as error:  # noqa: BLE001 - as above
                _log_failure(f"can't settle job {each.job.id}", error)

    async def _settle_at_once(self, outcome: Outcome, *, delayed: bool = False) -> None:
        settlement = settlement_of(outcome)
        if settlement is None:
            return
        if settlement.status == JobStatus.QUEUED and not delayed:
            settlement = settlement._replace(failures=0, delay_s=0.0)
        await self._database.write(lambda session: LeaseRepository(session).settle([settlement]))


def _log_failure(what: str, error: Exception) -> None:
    """Log a known error in one line, any other with its traceback."""
    logger.warning("%s: %s", what, error, exc_info=None if isinstance(error, AgentStorageError) else error)
