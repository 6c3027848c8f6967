"""Accept extractions: store them and the job that will index them, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.database import Database, WriteSession
from app.models import ExtractionId, JobId, JobType, ProjectId
from app.services.items import Item, extraction_id
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.project import ProjectRepository, project_id
from app.services.storage.repositories.source import SourceRepository


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of the items handed in, in their order.

    ``new`` holds the ids that weren't stored before; ``job_id`` is the job that will index those, or None when
    nothing was new.
    """

    ids: list[ExtractionId]
    new: set[ExtractionId]
    job_id: JobId | None


class IngestionService:
    """Stores extractions once each, durably, together with the job that makes them searchable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, project: str, items: Sequence[Item]) -> Accepted:
        """Store the items under a project, which is created if need be.

        When this returns, every item is on disk, and so is the job for the new ones. Handing in the same items
        again stores nothing.

        Raises:
            InvalidField: that is no project name.
        """
        owner = project_id(project)
        return await self._database.write(lambda session: _store(session, project, owner, items))


def _store(session: WriteSession, project: str, owner: ProjectId, items: Sequence[Item]) -> Accepted:
    ProjectRepository(session).get_or_create(project)
    sources = SourceRepository(session).create_batch(
        owner, [(item.source_uri, item.source_group) for item in items]
    )
    ids = [extraction_id(owner, item) for item in items]
    new = ExtractionRepository(session).create_batch(
        [
            NewExtraction(
                id=id_,
                project_id=owner,
                source_id=sources[item.source_uri],
                extraction_type=item.extraction_type,
                data=item.data,
                confidence=item.confidence,
            )
            for id_, item in zip(ids, items, strict=True)
        ]
    )
    if not new:
        return Accepted(ids, new, None)
    waiting = [str(id_) for id_ in dict.fromkeys(ids) if id_ in new]
    job_id = JobRepository(session).create(JobType.EMBED, {"extraction_ids": waiting})
    return Accepted(ids, new, job_id)
