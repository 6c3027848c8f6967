"""Looking after the jobs table: ending what nobody will claim again, and deleting what ended long ago."""

import asyncio
import logging

from app.database import Database, WriteSession
from app.errors import AgentStorageError
from app.services.storage.repositories.idempotency import IdempotencyRepository
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.lease import LeaseRepository

logger = logging.getLogger(__name__)

_EVERY_S = 15.0
_PRUNED_AT_ONCE = 1_000


async def look_after_jobs(database: Database, keep_finished_s: float) -> None:
    """Do so every few seconds until cancelled; any number of workers may."""
    while True:
        try:
            await database.write(_end_what_is_left)
            while await database.write(lambda session: _prune(session, keep_finished_s)):
                pass
        except AgentStorageError as error:
            logger.warning("can't look after the jobs, and will try again: %s", error)
        except Exception:
            logger.exception("can't look after the jobs, and will try again")
        await asyncio.sleep(_EVERY_S)


def _end_what_is_left(session: WriteSession) -> None:
    IdempotencyRepository(session).prune()
    LeaseRepository(session).sweep()


def _prune(session: WriteSession, keep_finished_s: float) -> bool:
    """Whether there may be more to delete; in slices, so that nobody waits long for the write lock."""
    pruned = JobRepository(session).prune(older_than_s=keep_finished_s, limit=_PRUNED_AT_ONCE)
    return pruned == _PRUNED_AT_ONCE
