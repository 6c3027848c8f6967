"""Queue the jobs that update the index, in the transaction that changes the extractions."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import chain

from app.database import WriteSession
from app.domain.ids import ExtractionId, JobId, ProjectId, SourceId
from app.domain.jobs import JobType
from app.services.storage.qdrant.ports import Payload
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.id_lists import texts
from app.services.storage.repositories.job import JobRepository

IDS_A_JOB = 1_000
"""The largest number of extractions in a job."""


def pages(ids: Sequence[ExtractionId]) -> Iterable[Sequence[ExtractionId]]:
    """Split ids into pages of a job's size."""
    return (ids[start : start + IDS_A_JOB] for start in range(0, len(ids), IDS_A_JOB))


def queue_embedding(session: WriteSession, project_id: ProjectId, ids: Sequence[ExtractionId]) -> JobId | None:
    """Queue the embedding of new extractions, if there are any."""
    if not ids:
        return None
    return JobRepository(session).create(JobType.EMBED, {"extraction_ids": texts(ids)}, project_id=project_id)


def queue_payloads(
    session: WriteSession,
    project_id: ProjectId,
    changed: Collection[ExtractionId],
    regrouped: Collection[SourceId],
) -> list[JobId]:
    """Queue payload updates of these extractions, and of all extractions of these sources.

    Rows without a vector are included, because one may be on its way with the old payload.
    """
    jobs = JobRepository(session)
    with closing(ExtractionRepository(session).iter_ids_of_sources(regrouped, size=IDS_A_JOB)) as of_sources:
        return [
            jobs.create(JobType.UPDATE_PAYLOAD, {"extraction_ids": texts(page)}, project_id=project_id)
            for page in chain(pages(list(changed)), of_sources)
        ]


def queue_vectors_deletion(
    session: WriteSession, ids: Collection[ExtractionId | str], project_id: ProjectId | None = None
) -> JobId:
    """Queue the deletion of these vectors."""
    payload = {"extraction_ids": texts(ids)}
    return JobRepository(session).create(JobType.DELETE_VECTORS, payload, project_id=project_id)


def queue_ghosts_deletion(session: WriteSession, ids: Sequence[ExtractionId] | Sequence[str]) -> None:
    """Queue the deletion of the vectors among these whose rows are deleted."""
    existing = ExtractionRepository(session).existing_ids(ids)
    if gone := {str(id_) for id_ in ids} - set(texts(existing)):
        queue_vectors_deletion(session, gone)


def queue_embedding_again(session: WriteSession, ids: Sequence[ExtractionId] | Sequence[str]) -> None:
    """Queue these extractions for embedding if they have a row, marked or not."""
    extractions = ExtractionRepository(session)
    if existing := extractions.existing_ids(ids):
        extractions.clear_embedding_ids_batch(existing)
        JobRepository(session).create(JobType.EMBED, {"extraction_ids": texts(existing)})


def queue_changed_payloads(
    session: WriteSession, written: Mapping[str, Payload], now: Mapping[str, Payload]
) -> None:
    """Queue updates of the written payloads that differ from their rows' current ones."""
    changed = [id_ for id_, payload in now.items() if id_ in written and written[id_] != payload]
    if changed:
        JobRepository(session).create(JobType.UPDATE_PAYLOAD, {"extraction_ids": changed})
