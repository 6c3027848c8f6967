"""A worker in a separate process, with handlers for tests; settings come from the environment.

Run as ``python -m support.worker_process [WORKERS]``. A job of type ``effect`` inserts a row into
``effects``, in the transaction that settles it; ``sleep`` sleeps for ``payload["seconds"]``;
``stubborn`` ignores cancellation.
"""

import asyncio
import sys
from contextlib import suppress

from sqlalchemy import text

from app.config import load_settings
from app.database import WriteSession
from app.entrypoints.service import open_service, run_service, run_to_the_end
from app.services.jobs.running import Done, RunningJob
from containers import create_container

EFFECTS = "CREATE TABLE effects (job_id TEXT, attempt INTEGER)"


async def effect(job: RunningJob) -> Done:
    def insert(session: WriteSession) -> None:
        session.execute(
            text("INSERT INTO effects VALUES (:job_id, :attempt)"),
            {"job_id": str(job.id), "attempt": job.attempt},
        )

    await asyncio.sleep(job.payload.get("seconds", 0))
    return Done({"ok": True}, insert)


async def sleep(job: RunningJob) -> None:
    await asyncio.sleep(job.payload["seconds"])


async def stubborn(job: RunningJob) -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(job.payload["seconds"])


HANDLERS = {"effect": effect, "sleep": sleep, "stubborn": stubborn}


def main() -> None:
    workers = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    container = create_container(load_settings(), handlers=HANDLERS)
    with open_service(container):
        run_to_the_end(run_service(container, workers=workers, server=None))


if __name__ == "__main__":
    main()
