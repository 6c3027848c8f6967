"""What became of what was asked for."""

from dataclasses import dataclass

from app.domain.ids import ExtractionId, JobId


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of the items handed in, in their order.

    ``new`` holds the ids that weren't stored before; ``job_id`` is the job that will index those, or None when
    nothing was new.
    """

    ids: list[ExtractionId]
    new: set[ExtractionId]
    job_id: JobId | None


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many extractions went, and the jobs that delete their vectors."""

    extractions: int
    job_ids: list[JobId]
