"""A type of job of one's own: the most frequent words of a project, counted in the background."""

from collections import Counter
from functools import partial
from typing import NamedTuple

from dependency_injector import providers

from app.config import Settings, load_settings
from app.database import Database, ReadSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, JobId
from app.entrypoints.worker import work
from app.services.jobs.running import Done, RunningJob
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.project import ProjectRepository
from containers import Container, create_container

COUNT_WORDS = "count_words"
_AT_ONCE = 500


class Page(NamedTuple):
    """What some extractions gave, and the last of them: None when there are no more."""

    extractions: int
    words: Counter[str]
    last: ExtractionId | None


class CountWords:
    """The handler. It only reads, so running it again does no harm."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self, job: RunningJob) -> Done:
        """Count the words of the project that the job names."""
        words, done, last = Counter[str](), 0, None
        while True:
            page = await self._database.read(partial(_count_page, job.payload["project"], last))
            if page.last is None:
                return Done({"extractions": done, "words": dict(words.most_common(10))})
            words += page.words
            done += page.extractions
            last = page.last
            # Renews the lease and shows the progress; raises if the job is another worker's now, or
            # cancelled.
            await job.report(done=done)


def _count_page(project: str, after: ExtractionId | None, session: ReadSession) -> Page:
    """Count the extractions that come next after that one. Runs in the transaction's thread."""
    in_project = Filters(project_id=ProjectRepository(session).get(project).id)
    rows = ExtractionRepository(session).list(in_project, after=after, limit=_AT_ONCE)
    texts = (value for row in rows for value in row.data.values() if isinstance(value, str))
    words = Counter(" ".join(texts).casefold().split())
    return Page(len(rows), words, rows[-1].id if rows else None)


async def queue_word_count(container: Container, project: str) -> JobId:
    """Queue the job; while one for this project is open, that one is meant."""
    job_id = await container.database().write(
        lambda session: JobRepository(session).create(
            COUNT_WORDS, {"project": project}, unique_key=f"{COUNT_WORDS}:{project}"
        )
    )
    container.wakeup().set()  # a worker in this process looks at once; others hear of it from PostgreSQL, or poll
    return job_id


def container_with_word_counts(settings: Settings) -> Container:
    """A container whose workers run this type of job besides those they always run."""
    container = create_container(settings)
    container.handlers.add_kwargs({COUNT_WORDS: providers.ThreadSafeSingleton(CountWords, container.database)})
    return container


def main() -> None:
    """What ``agent-storage worker`` does, with this handler."""
    settings = load_settings()
    work(settings, workers=1, container=container_with_word_counts(settings))


if __name__ == "__main__":
    main()
