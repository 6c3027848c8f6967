"""What became of what was asked for."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId


class Waited(NamedTuple):
    """What became of jobs that were waited for: those that haven't ended, and those that failed or were cancelled."""

    open_job_ids: list[JobId]
    failed_job_ids: list[JobId]


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of the items handed in, in their order.

    ``new`` holds the ids that weren't stored before; ``job_id`` is the job that will index those,
    or None when nothing was new. ``changed`` holds the ids that were stored with another
    confidence, or whose source was in another group; ``payload_job_ids`` are the jobs that bring
    the index in line with that. ``waited`` tells how the jobs stood at the end, where the caller
    asked to wait for them. ``warnings`` are sentences for a person.
    """

    ids: list[ExtractionId]
    new: set[ExtractionId]
    job_id: JobId | None
    changed: AbstractSet[ExtractionId] = frozenset()
    payload_job_ids: list[JobId] = field(default_factory=list)
    waited: Waited | None = None
    warnings: tuple[str, ...] = ()

    @property
    def job_ids(self) -> list[JobId]:
        """All jobs that follow from it; the one that indexes comes last."""
        return self.payload_job_ids if self.job_id is None else [*self.payload_job_ids, self.job_id]


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of facts; those whose source is in another group count as changed."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0

    @classmethod
    def total(cls, counts: "Iterable[Counts]") -> "Counts":
        """Of all together."""
        each = [(of.added, of.changed, of.unchanged, of.removed) for of in counts]
        return cls(*map(sum, zip(*each, strict=True)))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts.total([self, other])


class ReplacedSource(NamedTuple):
    """What replacing one source has changed. ``gone``: it has no facts now."""

    source_id: SourceId
    source_uri: str
    counts: Counts
    gone: bool = False


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replace has changed, source by source in the order handed in, and the jobs that follow from it.

    ``waited`` and ``warnings`` are as in :class:`Accepted`.
    """

    sources: list[ReplacedSource] = field(default_factory=list)
    job_ids: list[JobId] = field(default_factory=list)
    waited: Waited | None = None
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> Counts:
        """Of all sources together."""
        return Counts.total(source.counts for source in self.sources)

    def __add__(self, other: "Replaced") -> "Replaced":
        return Replaced(
            self.sources + other.sources,
            self.job_ids + other.job_ids,
            warnings=other.warnings or self.warnings,
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many extractions went, and the jobs that delete their vectors; ``waited`` as in :class:`Accepted`."""

    extractions: int
    job_ids: list[JobId]
    waited: Waited | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """How many extractions that were set aside are tried again, and the jobs that embed them."""

    extractions: int
    job_ids: list[JobId]


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """What an undoing left as it is, because it was touched later: an extraction, or (None) the source's group."""

    source_id: SourceId
    extraction_id: ExtractionId | None


@dataclass(frozen=True, slots=True)
class Undone:
    """What undoing a run has changed: ``added`` came back, ``removed`` went again.

    ``more_left_alone`` counts what was left alone besides those in ``left_alone``; a service names
    the first ones only.
    """

    project_id: ProjectId
    run_id: RunId
    undo_run_id: RunId
    counts: Counts = field(default_factory=Counts)
    left_alone: list[LeftAlone] = field(default_factory=list)
    job_ids: list[JobId] = field(default_factory=list)
    more_left_alone: int = 0

    def __add__(self, other: "Undone") -> "Undone":
        return Undone(
            self.project_id,
            self.run_id,
            self.undo_run_id,
            self.counts + other.counts,
            self.left_alone + other.left_alone,
            self.job_ids + other.job_ids,
            self.more_left_alone + other.more_left_alone,
        )
