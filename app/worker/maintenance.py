"""Maintain the jobs table and the ledger: follow the clock, end dead jobs, prune old rows."""

import asyncio
import logging
from functools import partial

from app.database import Database, WriteSession
from app.domain.ids import ProjectId
from app.errors import AgentStorageError
from app.services.storage.repositories.idempotency import IdempotencyRepository
from app.services.storage.repositories.job import PRUNED_AT_ONCE, JobRepository
from app.services.storage.repositories.lease import LeaseRepository
from app.services.storage.repositories.ledger import PRUNED_AT_ONCE as LEDGER_AT_ONCE
from app.services.storage.repositories.ledger import LedgerRepository
from app.services.storage.repositories.project import ProjectRepository

logger = logging.getLogger(__name__)

_EVERY_S = 15.0
_LEDGER_EVERY_S = 600.0


async def maintain_jobs(database: Database, keep_finished_s: float) -> None:
    """Maintain the jobs table every few seconds until cancelled; any number of workers may."""
    while True:
        try:
            await database.write(_sweep)
            while await database.write(lambda session: _prune(session, keep_finished_s)):
                pass
        except AgentStorageError as error:
            logger.warning("can't maintain the jobs table, and will try again: %s", error)
        except Exception:
            logger.exception("can't maintain the jobs table, and will try again")
        await asyncio.sleep(_EVERY_S)


async def prune_ledgers(database: Database, keep_history_s: float) -> None:
    """Prune all projects' ledgers every ten minutes until cancelled; any number of workers may."""
    while True:
        try:
            projects = await database.read(lambda session: ProjectRepository(session).ids())
            for project_id in projects:
                prune = partial(_prune_ledger, project_id=project_id, keep_history_s=keep_history_s)
                while await database.write(prune):
                    pass
        except AgentStorageError as error:
            logger.warning("can't prune the ledger, and will try again: %s", error)
        except Exception:
            logger.exception("can't prune the ledger, and will try again")
        await asyncio.sleep(_LEDGER_EVERY_S)


def _prune_ledger(session: WriteSession, *, project_id: ProjectId, keep_history_s: float) -> bool:
    """Prune some old entries; return whether there may be more."""
    return LedgerRepository(session).prune(project_id, older_than_s=keep_history_s) == LEDGER_AT_ONCE


def _sweep(session: WriteSession) -> None:
    IdempotencyRepository(session).prune()
    leases = LeaseRepository(session)
    if moved := leases.follow_clock():
        logger.warning("the database's clock was set back, and %d open jobs with it", moved)
    leases.sweep()


def _prune(session: WriteSession, keep_finished_s: float) -> bool:
    """Prune some old jobs, so that the write lock is held briefly; return if there may be more."""
    pruned = JobRepository(session).prune(older_than_s=keep_finished_s)
    return pruned == PRUNED_AT_ONCE
