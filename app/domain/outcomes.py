"""What became of what was asked for."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from app.domain.ids import ExtractionId, JobId


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of the items handed in, in their order.

    ``new`` holds the ids that weren't stored before; ``job_id`` is the job that will index those, or None when
    nothing was new. ``changed`` holds the ids that were stored with another confidence, or whose source was in
    another group; ``payload_job_ids`` are the jobs that bring the index in line with that.
    """

    ids: list[ExtractionId]
    new: set[ExtractionId]
    job_id: JobId | None
    changed: AbstractSet[ExtractionId] = frozenset()
    payload_job_ids: list[JobId] = field(default_factory=list)

    @property
    def job_ids(self) -> list[JobId]:
        """All jobs that follow from it; the one that indexes comes last."""
        return self.payload_job_ids if self.job_id is None else [*self.payload_job_ids, self.job_id]


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many extractions went, and the jobs that delete their vectors."""

    extractions: int
    job_ids: list[JobId]
