"""The schemas of requests and answers, for validation and for OpenAPI."""

from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    model_validator,
)

from app.domain import conditions, filters
from app.domain.changes import Change, ChangeKind
from app.domain.items import MAX_LABEL_CHARS, MAX_METADATA_BYTES, MAX_URI_CHARS, MOST_DECOMPOSED
from app.domain.normal_form import composed
from app.domain.outcomes import Undone
from app.domain.rows import ExtractionRow, ProjectSummary, RunRow, SourceRow
from app.domain.search import MAX_HITS, MAX_QUERY_CHARS, Query, SearchMode
from app.intake.where_json import parse_where_json
from app.services.fields import MOST_FACETS, MOST_VALUES

MOST_FAULTS = 100
"""The maximum of errors that are reported for one body."""

MOST_LEFT_ALONE = 1_000
"""How many of the entries that an undo skipped are listed."""


def _composed(text: object) -> object:
    """Normalize to NFC, whose length is what counts; skip a text that is too long in any form."""
    if isinstance(text, str) and len(text) <= MOST_DECOMPOSED * MAX_LABEL_CHARS:
        return composed(text, "label")
    return text


Label = Annotated[
    str,
    Field(min_length=1, max_length=MAX_LABEL_CHARS, pattern=r"^[^\x00]*$"),
    BeforeValidator(_composed, json_schema_input_type=str),
]
ProjectName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="1 to 100 characters: letters A to Z, digits, '.', '-' and '_', the first a letter or digit.",
    ),
]
PageLimit = Annotated[int, Field(ge=1, le=1_000, description="The maximum number of items.")]
Labels = Annotated[list[Label], Field(max_length=100)]
SourceUris = Annotated[
    list[
        Annotated[str, Field(min_length=1, max_length=MOST_DECOMPOSED * MAX_URI_CHARS, pattern=r"^[^\x00]*$")]
    ],
    Field(max_length=100),
]
Id = Annotated[UUID, Field(strict=False)]
Ids = Annotated[list[Id], Field(fail_fast=True)]
RunIds = Annotated[list[Id], Field(max_length=100)]
UriPrefix = Annotated[str, Field(min_length=1, max_length=MAX_URI_CHARS, pattern=r"^[^\x00]*$")]
Confidence = Annotated[float, Field(ge=0, le=1)]
Warnings = Annotated[
    list[str], Field(description="Likely mistakes in the filters: paths that no fact of the project has.")
]


Scalar = str | int | float | bool | None


class Moment(BaseModel):
    """A time to compare with: a date, or a date and a time, in ISO 8601."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"time": "2025-01-31T08:30:00Z"}]}
    )

    time: str


class Body(BaseModel):
    """The base of request bodies; unknown fields and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _pass_over_most_unknown(cls, members: object) -> object:
        """Keep only a hundred of the unknown fields, because each one makes an error."""
        if not isinstance(members, dict) or len(members) <= len(cls.model_fields) + MOST_FAULTS:
            return members
        known = {name: members[name] for name in cls.model_fields if name in members}
        return {**known, **dict(islice(((n, v) for n, v in members.items() if n not in known), MOST_FAULTS))}


class Condition(BaseModel):
    """A condition on a fact: one of `and`, `or` and `not`, or a `path` and an `op`.

    `in` takes `values`, `exists` takes nothing, all others take a `value`. The meaning is the same
    as in the text of `?where=`.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"path": "price.amount", "op": ">=", "value": 100},
                {"path": "country", "op": "in", "values": ["DE", "FR"]},
                {"path": "valid_from", "op": ">=", "value": {"time": "2025-01-01"}},
                {
                    "and": [
                        {"path": "type", "op": "=", "value": "product"},
                        {"not": {"path": "tags", "op": "contains", "value": "indoor"}},
                        {"path": "metadata.page", "op": "exists"},
                    ]
                },
            ]
        },
    )

    all_of: list["Condition"] | None = Field(default=None, alias="and", min_length=1)
    one_of: list["Condition"] | None = Field(default=None, alias="or", min_length=1)
    negated: "Condition | None" = Field(default=None, alias="not")
    path: str | None = Field(
        default=None,
        description="A field of the fact (type, group, source, confidence, created, changed, run, indexed), a path in "
        "`data`, or a path that begins with `data.` or `metadata.`; a key with a dot in it is in double quotes.",
    )
    op: Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "exists", "starts"] | None = None
    value: Scalar | Moment = None
    values: list[Scalar | Moment] | None = Field(default=None, min_length=1)


Where = Annotated[conditions.Condition, PlainValidator(parse_where_json, json_schema_input_type=Condition)]
"""Parsed by :func:`parse_where_json`, whose errors name the place; see :class:`Condition`."""


class NewProject(Body):
    """A project to create."""

    name: ProjectName


class Filters(Body):
    """Filters that select extractions; an extraction must match all of them."""

    source_groups: Labels = []
    extraction_types: Labels = []
    min_confidence: Confidence | None = None
    max_confidence: Confidence | None = None
    source_uris: SourceUris = []
    run_ids: RunIds = Field(default=[], description="The runs that asserted an extraction first or last.")
    where: Where | None = Field(
        default=None, description="A condition on an extraction's data, metadata or own fields."
    )
    indexed: bool | None = Field(
        default=None, description="True: only those that search can find; false: only those without a vector."
    )
    set_aside: bool | None = Field(
        default=None, description="True: only those that can't be embedded; false: only the others."
    )
    _for_service: filters.Filters = PrivateAttr()

    def model_post_init(self, _context: object) -> None:
        """Normalize texts during validation, off the event loop.

        2 MiB of combining characters take 0.8 s.
        """
        self._for_service = filters.Filters(
            source_groups=tuple(self.source_groups),
            extraction_types=tuple(self.extraction_types),
            min_confidence=self.min_confidence,
            max_confidence=self.max_confidence,
            source_uris=tuple(self.source_uris),
            run_ids=tuple(self.run_ids),
            where=self.where,
            indexed=self.indexed,
            set_aside=self.set_aside,
        )

    def for_service(self) -> filters.Filters:
        """The filters as the services take them."""
        return self._for_service


class SearchQuery(Filters):
    """A search: the query's text, and filters that hits must match."""

    query: str = Field(min_length=1, max_length=MAX_QUERY_CHARS)
    limit: int = Field(default=10, ge=1, le=MAX_HITS)
    mode: Annotated[SearchMode, Field(strict=False)] = Field(
        default=SearchMode.AUTO, description="Search by meaning, by words, or by both with combined scores."
    )
    offset: int = Field(
        default=0,
        ge=0,
        lt=MAX_HITS,
        description="How many hits to skip; `offset` and `limit` together are at most 1,000.",
    )
    min_score: float | None = Field(default=None, allow_inf_nan=False, description="The lowest score of a hit.")
    collapse: bool = Field(
        default=False, description="Merge facts with the same type and data from several sources into one hit."
    )

    def as_query(self, project: str | None) -> Query:
        """Make the service's query, in one project or, with None, in all."""
        return Query(
            self.query,
            project,
            self.limit,
            self.for_service(),
            self.mode,
            self.offset,
            self.min_score,
            self.collapse,
        )


class FacetsOf(Filters):
    """The fields by which to count the extractions that match the filters."""

    by: list[str] = Field(
        min_length=1,
        max_length=MOST_FACETS,
        description="Each is type, group, source, run, day, a path in `data`, or one in `metadata` like `metadata.page`.",
    )
    limit: int = Field(
        default=10,
        ge=1,
        le=MOST_VALUES,
        description="How many values of each are listed; the rest are summed up.",
    )


class Deletion(Body):
    """The extractions to delete: by id, by filters, or all of the project."""

    ids: Ids | None = None
    filters: Filters | None = None
    all: bool = Field(
        default=False, description="True: all extractions; the project itself and its history stay."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.ids is not None) + (self.filters is not None) + self.all != 1:
            raise ValueError("give either ids or filters, or all: true")
        if self.filters is not None and self.filters == Filters():
            raise ValueError("these filters match everything; to delete everything, give all: true")
        return self


class Retrial(Body):
    """The set-aside extractions to retry: by id or by filters; without either, all of them."""

    ids: Ids | None = None
    filters: Filters | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.ids is not None and self.filters is not None:
            raise ValueError("give either ids or filters")
        return self


class Verification(Body):
    """The projects to verify, and whether to repair differences."""

    project: ProjectName | None = Field(default=None, description="Null: all projects.")
    repair: bool = False


class Pruning(Body):
    """The age from which ended jobs are deleted."""

    older_than_seconds: float = Field(ge=0, le=1e10)


class Project(BaseModel):
    """A project and the numbers of its sources and extractions."""

    id: UUID
    name: str
    created_at: datetime
    sources: int
    extractions: int
    indexed: int

    @classmethod
    def of(cls, summary: ProjectSummary) -> Self:
        """Convert the service's value."""
        return cls(**summary._asdict())


class Projects(BaseModel):
    """A page of projects, sorted by name."""

    items: list[Project]
    next_cursor: str | None


class Source(BaseModel):
    """The source that an extraction was taken from."""

    id: UUID
    uri: str
    group: str | None


class Extraction(BaseModel):
    """A stored extraction. It can be posted again; fields that aren't input are ignored."""

    id: UUID
    project_id: UUID
    project: str = Field(description="The project's name.")
    source: Source
    source_uri: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    metadata: dict[str, Any] | None = Field(
        description="Data that may change without making another extraction, like the confidence."
    )
    data: dict[str, Any]
    first_run_id: UUID | None = Field(description="The run that asserted it first.")
    last_run_id: UUID | None = Field(description="The run that asserted it last.")
    indexed: bool = Field(description="Whether search can find it.")
    set_aside_reason: str | None = Field(description="Why it can't be embedded; null if it isn't set aside.")
    created_at: datetime
    changed_at: datetime | None = Field(
        description="When its confidence or metadata last changed; null if they never have."
    )


class Extractions(BaseModel):
    """A page of extractions."""

    items: list[Extraction]
    next_cursor: str | None
    warnings: Warnings


class RankedSide(BaseModel):
    """The extraction's rank in the results of one search (by meaning or by words), and its score.

    Ranks count from 1.
    """

    rank: int
    score: float


class TwinOfHit(BaseModel):
    """Another extraction with the same type and data, and its source."""

    id: UUID
    source_uri: str


class Hit(BaseModel):
    """A result of a search, and why it was found.

    `score` is from 0 to 1; with mode `meaning` it is the cosine similarity, from -1 to 1.
    `words.score` is a share of the best score that the query's words allow. `highlights` maps paths
    in `data` to the places of the query's words: pairs of start and end, in characters (code
    points).
    """

    score: float
    meaning: RankedSide | None
    words: RankedSide | None
    terms: list[str]
    highlights: dict[str, list[tuple[int, int]]]
    twins: list[TwinOfHit]
    extraction: Extraction


class Hits(BaseModel):
    """The best matches, best first.

    `degraded` says what the answer lacks, such as the search by words or the search by meaning.
    """

    items: list[Hit]
    more: bool = Field(description="Whether there is a next page: the same search with a larger `offset`.")
    degraded: list[str]
    warnings: Warnings


class Stored(BaseModel):
    """An item of the request.

    ``new``: it wasn't stored yet. ``changed``: it was stored with another confidence or other
    metadata, or its source in another group.
    """

    id: UUID
    new: bool
    changed: bool


class Waited(BaseModel):
    """The jobs that were waited for and didn't complete: still open, or failed or cancelled."""

    open_jobs: list[UUID]
    failed_jobs: list[UUID]


class Accepted(BaseModel):
    """The outcome of each item, in the request's order.

    ``changed`` counts the extractions among the ``known`` that changed. ``job_id`` is the last of
    ``jobs``, null if nothing was new and nothing changed.
    """

    items: list[Stored]
    new: int
    known: int
    changed: int
    jobs: list[UUID]
    job_id: UUID | None
    run_id: UUID | None
    waited: Waited | None = Field(description="Null unless the request has `wait`.")
    warnings: list[str] = Field(
        description="Messages for people, such as that the project's text isn't in the embedder's languages."
    )


class ReplacedSource(BaseModel):
    """What replacing a source changed. ``gone``: the source has no facts left."""

    id: UUID
    uri: str
    added: int
    changed: int
    unchanged: int
    removed: int
    gone: bool


class Replaced(BaseModel):
    """What a replace changed, for each source and in total. ``job_id`` is the last of ``jobs``."""

    sources: list[ReplacedSource]
    added: int
    changed: int
    unchanged: int
    removed: int
    jobs: list[UUID]
    job_id: UUID | None
    run_id: UUID | None
    dry_run: bool
    waited: Waited | None = Field(description="Null unless the request has `wait`.")
    warnings: list[str] = Field(description="Messages for people, as after posting extractions.")


class DeletedAnswer(BaseModel):
    """How many extractions were deleted, and the jobs that delete their vectors."""

    deleted: int
    jobs: list[UUID]
    waited: Waited | None = Field(description="Null unless the request has `wait`.")
    dry_run: bool = Field(
        default=False, description="True: nothing was deleted; `deleted` counts what would be."
    )
    warnings: Warnings = []


class RetriedAnswer(BaseModel):
    """How many extractions are retried, and the jobs that embed them."""

    retried: int
    jobs: list[UUID]
    warnings: Warnings


class Count(BaseModel):
    """The number of extractions."""

    count: int
    warnings: Warnings


class Progress(BaseModel):
    """The progress of a job; ``total`` is null if unknown."""

    done: int
    total: int | None


class Job(BaseModel):
    """A job. ``attempts`` counts how often it was started, ``failures`` how often it failed."""

    id: UUID
    type: str
    status: str
    priority: int
    project_id: UUID | None
    attempts: int
    failures: int
    progress: Progress
    created_at: datetime
    run_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    result: dict[str, Any] | None
    error: str | None


class Jobs(BaseModel):
    """A page of jobs, newest first."""

    items: list[Job]
    next_cursor: str | None


class Pruned(BaseModel):
    """How many jobs were deleted."""

    pruned: int


class JobTypes(BaseModel):
    """The paused job types."""

    paused: list[str]


class Part(BaseModel):
    """The health of one component."""

    part: str
    ok: bool
    latency_seconds: float
    error: str | None


class Readiness(BaseModel):
    """Whether the service is ready, with the health of each component."""

    ok: bool
    parts: list[Part]


class Durations(BaseModel):
    """The durations of the completed jobs of one type."""

    avg_seconds: float
    min_seconds: float
    max_seconds: float
    count: int


class PoolUse(BaseModel):
    """The connection pool; ``checked_out`` is null if the pool doesn't count."""

    size: int
    checked_out: int | None
    overflow: int
    waits: int


class LaneUse(BaseModel):
    """A lane's current use, and its counters since the start, which never decrease."""

    limit: int
    active: int
    waiting: int
    rejected: int
    finished: int
    wait_seconds: float
    run_seconds: float


class Measurements(BaseModel):
    """A snapshot of all metrics; ``jobs`` by type and status, ``extractions`` by type."""

    job_durations: dict[str, Durations]
    jobs: dict[str, dict[str, int]]
    extractions: dict[str, int]
    orphans: int
    set_aside: int
    pool: PoolUse
    lanes: dict[str, LaneUse]


class Liveness(BaseModel):
    """The answer of a running process."""

    ok: bool


def extraction_of(row: ExtractionRow) -> dict[str, Any]:
    """Make the JSON of an extraction, as a plain dict.

    orjson writes a thousand dicts in the time that pydantic takes for ten models.
    """
    return {
        "id": row.id,
        "project_id": row.project_id,
        "project": row.project,
        "source": {"id": row.source_id, "uri": row.source_uri, "group": row.source_group},
        "source_uri": row.source_uri,
        "source_group": row.source_group,
        "extraction_type": row.extraction_type,
        "confidence": row.confidence,
        "metadata": row.metadata,
        "data": row.data,
        "first_run_id": row.first_run_id,
        "last_run_id": row.last_run_id,
        "indexed": row.embedding_id is not None,
        "set_aside_reason": row.set_aside_reason,
        "created_at": row.created_at,
        "changed_at": row.changed_at,
    }


# --- sources, runs and changes --------------------------------------------------------------------


class SourceShown(Source):
    """A source of a project, and how many extractions it has. ``gone``: it has none."""

    created_at: datetime
    observed_at: datetime | None = Field(
        description="When the content of the last replace was observed; null if it was never replaced."
    )
    extractions: int
    gone: bool

    @classmethod
    def of(cls, row: SourceRow) -> Self:
        """Convert the service's value."""
        members = row._asdict()
        del members["project_id"]
        return cls(**members, gone=not row.extractions)


class Sources(BaseModel):
    """A page of sources, sorted by id."""

    items: list[SourceShown]
    next_cursor: str | None


class PrunedSources(BaseModel):
    """How many sources were deleted."""

    pruned: int


class NewRun(Body):
    """A run to begin."""

    name: Label = Field(description="The run's name. It need not be unique; the id is.")
    metadata: dict[str, Any] | None = Field(
        default=None, description=f"Data about the run; at most {MAX_METADATA_BYTES:,} bytes of JSON."
    )


class Run(BaseModel):
    """A run, and the numbers of extractions that it added, changed, left unchanged and removed."""

    id: UUID
    name: str
    metadata: dict[str, Any] | None
    begun_at: datetime
    ended_at: datetime | None
    undoes: UUID | None = Field(description="The run that this one undid.")
    added: int
    changed: int
    unchanged: int
    removed: int

    @classmethod
    def of(cls, row: RunRow) -> Self:
        """Convert the service's value."""
        members = row._asdict()
        del members["project_id"]
        return cls(**members)


class Runs(BaseModel):
    """A page of runs, newest first."""

    items: list[Run]
    next_cursor: str | None


class LeftAsItIs(BaseModel):
    """Something that an undo left as it is: an extraction, or the source's group (null)."""

    source_id: UUID
    extraction_id: UUID | None


class LeftAlone(BaseModel):
    """What an undo left as it is, because it changed after the run.

    ``items`` are the first 1,000 of ``count``.
    """

    count: int
    items: list[LeftAsItIs]


class UndoneAnswer(BaseModel):
    """What undoing a run changed.

    ``added`` extractions were restored, ``removed`` ones were removed again. ``undone_by`` is the
    undo's own run, which can be undone too.
    """

    run: UUID
    undone_by: UUID
    added: int
    changed: int
    removed: int
    left_alone: LeftAlone
    jobs: list[UUID]

    @classmethod
    def of(cls, undone: Undone) -> Self:
        """Convert the service's value."""
        left = undone.left_alone
        return cls(
            run=undone.run_id,
            undone_by=undone.undo_run_id,
            added=undone.counts.added,
            changed=undone.counts.changed,
            removed=undone.counts.removed,
            left_alone=LeftAlone(
                count=len(left),
                items=[
                    LeftAsItIs(source_id=each.source_id, extraction_id=each.extraction_id)
                    for each in left[:MOST_LEFT_ALONE]
                ],
            ),
            jobs=list(undone.job_ids),
        )


class ChangeShown(BaseModel):
    """One change of an extraction, or of a source (``extraction_id`` is null)."""

    number: int = Field(description="All changes of one source in one transaction have the same number.")
    kind: ChangeKind
    at: datetime
    run_id: UUID | None
    source_id: UUID
    extraction_id: UUID | None
    before: dict[str, Any] | None = Field(
        description="The state before: the confidence and metadata of a changed extraction, the whole of a removed "
        "one, the group of a source that moved to another group, or a deleted source."
    )
    after: dict[str, Any] | None = Field(description="The new group of a source that moved to another group.")
    extraction: Extraction | None = Field(
        description="The extraction as it is now; null if it was removed since."
    )


class HistoryAnswer(BaseModel):
    """A page of changes, newest first.

    ``whole``: this page ends with the first change of all; none was pruned.
    """

    items: list[ChangeShown]
    next_cursor: str | None
    whole: bool


class FeedAnswer(BaseModel):
    """Changes in commit order. ``cursor`` is where to continue, also if ``more`` is false.

    ``whole``: no earlier change is missing; false at the start of a pruned feed.
    """

    items: list[ChangeShown]
    cursor: str
    more: bool
    whole: bool


def change_of(change: Change) -> dict[str, Any]:
    """Make the JSON of a change, as a plain dict; see :func:`extraction_of`."""
    return {
        "number": change.number,
        "kind": change.kind,
        "at": change.at,
        "run_id": change.run_id,
        "source_id": change.source_id,
        "extraction_id": change.extraction_id,
        "before": change.before,
        "after": change.after,
        "extraction": None if change.extraction is None else extraction_of(change.extraction),
    }


class FacetValue(BaseModel):
    """A value, and the number of extractions that have it."""

    value: Any
    count: int


class Numbers(BaseModel):
    """The distribution of numbers; the nine deciles are values that occur."""

    count: int
    min: float
    max: float
    mean: float
    deciles: list[float]


class Facet(BaseModel):
    """Extractions counted by the values of a field.

    `rest` is the sum of the counts of the `rest_values` further values; `missing` extractions have
    no value, and `objects` have an object there.
    """

    by: str
    values: list[FacetValue]
    rest_values: int
    rest: int
    missing: int
    objects: int
    numbers: Numbers | None


class Facets(BaseModel):
    """The number of extractions that match the filters, and their facets."""

    count: int
    facets: list[Facet]
    warnings: Warnings


class DescribedField(BaseModel):
    """A path, the number of sampled extractions that have it, its values' kinds, and examples."""

    path: str
    facts: int
    kinds: dict[str, int]
    examples: list[Any]


class DescribedType(BaseModel):
    """A type, and the fields of its data and metadata."""

    type: str
    facts: int
    fields: list[DescribedField]


class Described(BaseModel):
    """The types of a project, from a sample of extractions; `whole`: the sample is all of them."""

    sampled: int
    whole: bool
    types: list[DescribedType]
