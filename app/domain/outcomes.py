"""The results of operations: ingestion, replacing, deleting, retrying, undoing."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from app.domain.changes import ChangeKind
from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId


class Waited(NamedTuple):
    """The jobs waited for that haven't ended, and those that failed or were cancelled."""

    open_job_ids: list[JobId]
    failed_job_ids: list[JobId]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The result of storing items. ``ids`` are in the order of the items.

    ``new`` holds the ids that weren't stored before; ``job_id`` is the job that will index them, or
    None if nothing was new. ``changed`` holds the ids that were stored with another confidence, or
    whose source was in another group; ``payload_job_ids`` are the jobs that update the index for
    them. ``waited`` is the state of the jobs at the end, if the caller asked to wait for them.
    ``warnings`` are sentences for a person.
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
        """All jobs that follow from it; the one that indexes new items comes last."""
        return self.payload_job_ids if self.job_id is None else [*self.payload_job_ids, self.job_id]


@dataclass(frozen=True, slots=True)
class Counts:
    """How many facts were changed in which way; a fact whose source changed group is changed."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0

    @classmethod
    def total(cls, counts: "Iterable[Counts]") -> "Counts":
        """Sum the counts."""
        each = [(of.added, of.changed, of.unchanged, of.removed) for of in counts]
        return cls(*map(sum, zip(*each, strict=True)))

    def __add__(self, other: "Counts") -> "Counts":
        return Counts.total([self, other])


class ChangedFact(NamedTuple):
    """A fact that a dry run would add, change or remove. ``data`` is the fact's."""

    kind: ChangeKind
    id: ExtractionId
    extraction_type: str
    data: Mapping[str, Any]


class ReplacedSource(NamedTuple):
    """What replacing one source has changed. ``gone``: the source has no facts left.

    ``facts`` lists what a dry run would change, unless it has listed 10,000 facts already. It is
    None otherwise.
    """

    source_id: SourceId
    source_uri: str
    counts: Counts
    gone: bool = False
    facts: Sequence[ChangedFact] | None = None


@dataclass(frozen=True, slots=True)
class Replaced:
    """What a replace has changed, and the jobs that follow from it.

    ``sources`` are in the order handed in; ``waited`` and ``warnings`` are as in :class:`Accepted`.
    """

    sources: list[ReplacedSource] = field(default_factory=list)
    job_ids: list[JobId] = field(default_factory=list)
    waited: Waited | None = None
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> Counts:
        """The counts of all sources together."""
        return Counts.total(source.counts for source in self.sources)

    @property
    def listed(self) -> int:
        """How many facts a dry run lists."""
        return sum(len(source.facts or ()) for source in self.sources)

    def __add__(self, other: "Replaced") -> "Replaced":
        return Replaced(
            self.sources + other.sources,
            self.job_ids + other.job_ids,
            warnings=other.warnings or self.warnings,
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many extractions were deleted, and the jobs that delete their vectors.

    ``waited`` is as in :class:`Accepted`.
    """

    extractions: int
    job_ids: list[JobId]
    waited: Waited | None = None


@dataclass(frozen=True, slots=True)
class Retried:
    """How many extractions that were set aside are retried, and the jobs that embed them."""

    extractions: int
    job_ids: list[JobId]


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """What undoing a run didn't touch, because it was changed later.

    This is an extraction, or the source's group if ``extraction_id`` is None.
    """

    source_id: SourceId
    extraction_id: ExtractionId | None


@dataclass(frozen=True, slots=True)
class Undone:
    """What undoing a run has changed: ``added`` facts were restored, ``removed`` ones deleted.

    ``left_alone`` lists only the first entries; ``more_left_alone`` counts the others. If
    ``already`` is true, nothing was changed, because ``undo_run_id`` had undone the run before.
    """

    project_id: ProjectId
    run_id: RunId
    undo_run_id: RunId
    counts: Counts = field(default_factory=Counts)
    left_alone: list[LeftAlone] = field(default_factory=list)
    job_ids: list[JobId] = field(default_factory=list)
    more_left_alone: int = 0
    already: bool = False

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
