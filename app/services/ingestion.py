"""Accept extractions: store them and the job that will index them, in one transaction."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from uuid import UUID

import orjson

from app.database import Database, WriteSession
from app.domain.ids import ExtractionId, JobId, ProjectId, SourceId, project_id_of
from app.domain.items import Item, extraction_id_of
from app.domain.jobs import JobType
from app.domain.outcomes import Accepted
from app.errors import InvalidField
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
from app.services.storage.repositories.id_lists import texts
from app.services.storage.repositories.idempotency import IdempotencyRepository
from app.services.storage.repositories.job import JobRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.source import SourceRepository
from app.services.wakeup import Wakeup

MAX_KEY_CHARS = 255
_A_JOB = 1_000


@dataclass(frozen=True, slots=True)
class RequestPart:
    """The ``Idempotency-Key`` of a request, and which part of its body this is, counted from 0."""

    key: str
    part: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.key) <= MAX_KEY_CHARS:  # of PostgreSQL, an index takes 2,704 bytes
            raise InvalidField("Idempotency-Key", f"is 1 to {MAX_KEY_CHARS} characters, not {len(self.key):,}")


class IngestionService:
    """Stores extractions once each, durably, together with the job that makes them searchable."""

    def __init__(self, database: Database, wakeup: Wakeup) -> None:
        self._database = database
        self._wakeup = wakeup

    async def accept(self, project: str, items: Sequence[Item], request: RequestPart | None = None) -> Accepted:
        """Store the items under a project, which is created if need be.

        When this returns, every item is on disk, and so is the job for the new ones. Handing in the same items
        again stores nothing; as the same part of a ``request`` they get the same answer as before.

        An item that is stored already may bring another confidence, or another group for its source: these are
        updated, and the job for the index's payloads is on disk too. What an item leaves out stays as it is stored;
        of items that contradict each other the last one counts.

        Raises:
            InvalidField: that is no project name.
            IdempotencyConflict: the request's key was used with other items.
        """
        project_id = project_id_of(project)

        def work(session: WriteSession) -> Accepted:
            if request is None:
                return _store(session, project, project_id, items)
            return _store_once(session, project, project_id, items, request)

        accepted = await self._database.write(work)
        if accepted.job_ids:
            self._wakeup.set()
        return accepted


def _store_once(
    session: WriteSession, project: str, project_id: ProjectId, items: Sequence[Item], request: RequestPart
) -> Accepted:
    ids = [extraction_id_of(project_id, item) for item in items]
    fingerprint = _fingerprint(ids, items)
    keys = IdempotencyRepository(session)
    known = keys.find(request.key, request.part, fingerprint)
    if known is not None:
        job_id = known["job_id"]
        # Answers that were kept by earlier versions say nothing of changes: there were none.
        return Accepted(
            ids,
            {ids[place] for place in known["new"]},
            None if job_id is None else JobId(UUID(job_id)),
            {ids[place] for place in known.get("changed", ())},
            [JobId(UUID(id_)) for id_ in known.get("payload_job_ids", ())],
        )
    accepted = _store(session, project, project_id, items)
    places = {id_: place for place, id_ in enumerate(ids)}
    answer = {
        "job_id": None if accepted.job_id is None else str(accepted.job_id),
        "new": sorted(places[id_] for id_ in accepted.new),
        "changed": sorted(places[id_] for id_ in accepted.changed),
        "payload_job_ids": [str(id_) for id_ in accepted.payload_job_ids],
    }
    keys.add(request.key, request.part, fingerprint, answer)
    return accepted


def _fingerprint(ids: Sequence[ExtractionId], items: Sequence[Item]) -> str:
    """Ids are made of all that is stored but these two."""
    rest = [(item.source_group, item.confidence) for item in items]
    return hashlib.sha256(orjson.dumps([ids, rest])).hexdigest()


def _store(session: WriteSession, project: str, project_id: ProjectId, items: Sequence[Item]) -> Accepted:
    ProjectRepository(session).get_or_create(project)
    sources, regrouped = SourceRepository(session).create_batch(
        project_id, [(item.source_uri, item.source_group) for item in items]
    )
    ids = [extraction_id_of(project_id, item) for item in items]
    confidences = {
        id_: item.confidence for id_, item in zip(ids, items, strict=True) if item.confidence is not None
    }
    extractions = ExtractionRepository(session)
    new = extractions.create_batch(
        [
            NewExtraction(
                id=id_,
                project_id=project_id,
                source_id=sources[item.source_uri],
                extraction_type=item.extraction_type,
                data=item.data,
                confidence=confidences.get(id_),
            )
            for id_, item in zip(ids, items, strict=True)
        ]
    )
    changed = extractions.update_confidences(
        {id_: confidence for id_, confidence in confidences.items() if id_ not in new}
    )
    payload_job_ids = _queue_payloads(session, project_id, changed, regrouped)
    changed |= {
        id_
        for id_, item in zip(ids, items, strict=True)
        if id_ not in new and sources[item.source_uri] in regrouped
    }
    if not new:
        return Accepted(ids, new, None, changed, payload_job_ids)
    waiting = [str(id_) for id_ in dict.fromkeys(ids) if id_ in new]
    job_id = JobRepository(session).create(JobType.EMBED, {"extraction_ids": waiting}, project_id=project_id)
    return Accepted(ids, new, job_id, changed, payload_job_ids)


def _queue_payloads(
    session: WriteSession,
    project_id: ProjectId,
    changed: Collection[ExtractionId],
    regrouped: Collection[SourceId],
) -> list[JobId]:
    """Queue the payloads of these extractions, and of all extractions of these sources.

    Rows without a vector are among them, because one may be on its way with the payload that was.
    """
    jobs = JobRepository(session)
    pages = ExtractionRepository(session).iter_ids_of_sources(regrouped, size=_A_JOB)
    return [
        jobs.create(JobType.UPDATE_PAYLOAD, {"extraction_ids": texts(page)}, project_id=project_id)
        for page in chain([list(changed)], pages)
        if page
    ]
