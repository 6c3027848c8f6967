"""What stands in requests and answers, for checking and for OpenAPI."""

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
"""How many errors of one body are looked for."""

MOST_LEFT_ALONE = 1_000
"""How much of what an undo left alone is listed."""


def _composed(text: object) -> object:
    """In NFC, as its length is counted; a text too long in every form stays as it is."""
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
        description="1 to 100 of the letters A to Z, digits, '.', '-' and '_', the first a letter or digit.",
    ),
]
PageLimit = Annotated[int, Field(ge=1, le=1_000, description="How many at most.")]
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
    list[str], Field(description="What is odd about the filters: paths that no fact of the project has.")
]


Scalar = str | int | float | bool | None


class Moment(BaseModel):
    """A time to compare with: a date, or a date and a time, as ISO 8601 has them."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"time": "2025-01-31T08:30:00Z"}]}
    )

    time: str


class Body(BaseModel):
    """What a client sends; unknown fields and values of another type are refused, because they are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _pass_over_most_unknown(cls, members: object) -> object:
        """Keep a hundred of the fields that are unknown, each of which makes an error."""
        if not isinstance(members, dict) or len(members) <= len(cls.model_fields) + MOST_FAULTS:
            return members
        known = {name: members[name] for name in cls.model_fields if name in members}
        return {**known, **dict(islice(((n, v) for n, v in members.items() if n not in known), MOST_FAULTS))}


class Condition(BaseModel):
    """What must hold for a fact: one of `and`, `or` and `not`, or a `path` and an `op`.

    `in` takes `values`, `exists` takes nothing, all others take a `value`. The meaning is that of
    the text of `?where=`.
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
        description="A field of the fact (type, group, source, confidence, created, changed, run, indexed), or a path in "
        "`data`, or one that begins with `data.` or `metadata.`; a key with a dot in it stands in double quotes.",
    )
    op: Literal["=", "!=", "<", "<=", ">", ">=", "in", "contains", "exists", "starts"] | None = None
    value: Scalar | Moment = None
    values: list[Scalar | Moment] | None = Field(default=None, min_length=1)


Where = Annotated[conditions.Condition, PlainValidator(parse_where_json, json_schema_input_type=Condition)]
"""Read by :func:`parse_where_json`, whose errors say the place; :class:`Condition` is its schema."""


class NewProject(Body):
    """A project to make."""

    name: ProjectName


class Filters(Body):
    """Which extractions are meant: all that is given must hold."""

    source_groups: Labels = []
    extraction_types: Labels = []
    min_confidence: Confidence | None = None
    max_confidence: Confidence | None = None
    source_uris: SourceUris = []
    run_ids: RunIds = Field(default=[], description="The runs that asserted it first or last.")
    where: Where | None = Field(
        default=None, description="A condition on its data, its metadata or its own fields."
    )
    indexed: bool | None = Field(
        default=None, description="True: only what search can find; false: only what has no vector."
    )
    set_aside: bool | None = Field(
        default=None, description="True: only what can't be embedded; false: only the others."
    )
    _for_service: filters.Filters = PrivateAttr()

    def model_post_init(self, _context: object) -> None:
        """Compose texts while the body is checked, off the event loop: 2 MiB of combining characters take 0.8 s."""
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
        """As the services want them."""
        return self._for_service


class SearchQuery(Filters):
    """What to look for, in words, and what must hold besides."""

    query: str = Field(min_length=1, max_length=MAX_QUERY_CHARS)
    limit: int = Field(default=10, ge=1, le=MAX_HITS)
    mode: Annotated[SearchMode, Field(strict=False)] = Field(
        default=SearchMode.AUTO, description="By meaning, by words, or by both, their scores put together."
    )
    offset: int = Field(
        default=0, ge=0, lt=MAX_HITS, description="How many hits to pass over; with `limit` at most 1,000."
    )
    min_score: float | None = Field(default=None, allow_inf_nan=False, description="No hits that score less.")
    collapse: bool = Field(
        default=False, description="Facts with the same type and data from several sources become one hit."
    )

    def as_query(self, project: str | None) -> Query:
        """The search, in a project or in all."""
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
    """What to count by, of the extractions that pass the filters."""

    by: list[str] = Field(
        min_length=1,
        max_length=MOST_FACETS,
        description="Each is type, group, source, run, day, or a path in `data` or, as `metadata.page`, in `metadata`.",
    )
    limit: int = Field(
        default=10, ge=1, le=MOST_VALUES, description="How many values of each; the rest is summed up."
    )


class Deletion(Body):
    """What to delete: these ids, or all that pass the filters, or all that the project has."""

    ids: Ids | None = None
    filters: Filters | None = None
    all: bool = Field(default=False, description="True: everything; the project itself and its history stay.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.ids is not None) + (self.filters is not None) + self.all != 1:
            raise ValueError("give either ids or filters, or all: true")
        if self.filters is not None and self.filters == Filters():
            raise ValueError("filters that hold for everything would delete everything; say so by all: true")
        return self


class Retrial(Body):
    """What to try again of what is set aside: these ids, or all that pass the filters; without either, all."""

    ids: Ids | None = None
    filters: Filters | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.ids is not None and self.filters is not None:
            raise ValueError("give either ids or filters")
        return self


class Verification(Body):
    """What to compare, and whether to repair what differs."""

    project: ProjectName | None = Field(default=None, description="Null: all projects.")
    repair: bool = False


class Pruning(Body):
    """Which ended jobs to delete."""

    older_than_seconds: float = Field(ge=0, le=1e10)


class Project(BaseModel):
    """A project and how much it holds."""

    id: UUID
    name: str
    created_at: datetime
    sources: int
    extractions: int
    indexed: int

    @classmethod
    def of(cls, summary: ProjectSummary) -> Self:
        """From the service's."""
        return cls(**summary._asdict())


class Projects(BaseModel):
    """A page of projects, by name."""

    items: list[Project]
    next_cursor: str | None


class Source(BaseModel):
    """What an extraction was taken from."""

    id: UUID
    uri: str
    group: str | None


class Extraction(BaseModel):
    """A stored extraction. It can be handed in as it is: what isn't of an extraction that is handed in isn't stored."""

    id: UUID
    project_id: UUID
    project: str = Field(description="The project's name.")
    source: Source
    source_uri: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    metadata: dict[str, Any] | None = Field(description="What may change of it besides its confidence.")
    data: dict[str, Any]
    first_run_id: UUID | None = Field(description="The run that asserted it first.")
    last_run_id: UUID | None = Field(description="The run that asserted it last.")
    indexed: bool = Field(description="Whether it can be found by search.")
    set_aside_reason: str | None = Field(description="Why it can't be embedded; null for all others.")
    created_at: datetime
    changed_at: datetime | None = Field(
        description="When its confidence or its metadata changed last; null if they never have."
    )


class Extractions(BaseModel):
    """A page of extractions."""

    items: list[Extraction]
    next_cursor: str | None
    warnings: Warnings


class RankedSide(BaseModel):
    """Where the extraction stands in what one side found, counted from 1, and its score there."""

    rank: int
    score: float


class TwinOfHit(BaseModel):
    """Another extraction of the same type and data, and where it was taken from."""

    id: UUID
    source_uri: str


class Hit(BaseModel):
    """A result of a search, and why it was found.

    `score` is from 0 to 1; by meaning alone it is the cosine similarity, from -1 to 1.
    `words.score` is the share of the best score that the query's words allow. `highlights` has, by
    the path in `data`, where words of the query stand: pairs of begin and end in characters (code
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
    """The best matches, best first. `degraded` says what the answer lacks, such as one of the two sides."""

    items: list[Hit]
    more: bool = Field(description="Whether there is a next page: the same search with a larger `offset`.")
    degraded: list[str]
    warnings: Warnings


class Stored(BaseModel):
    """An item that was handed in. ``changed``: it was stored with another confidence, or its source in another group."""

    id: UUID
    new: bool
    changed: bool


class Waited(BaseModel):
    """What became of the jobs that were waited for: those that hadn't ended, and those that failed or were cancelled."""

    open_jobs: list[UUID]
    failed_jobs: list[UUID]


class Accepted(BaseModel):
    """What became of the items, in their order. ``changed`` counts the extractions among the ``known`` that changed.

    ``job_id`` is the last of ``jobs``, null if nothing was new and nothing changed.
    """

    items: list[Stored]
    new: int
    known: int
    changed: int
    jobs: list[UUID]
    job_id: UUID | None
    run_id: UUID | None
    waited: Waited | None = Field(description="Null unless `wait` was asked for.")
    warnings: list[str] = Field(
        description="For a person: such as that the project's text isn't in the embedder's languages."
    )


class ReplacedSource(BaseModel):
    """What replacing a source has changed. ``gone``: it has no facts now."""

    id: UUID
    uri: str
    added: int
    changed: int
    unchanged: int
    removed: int
    gone: bool


class Replaced(BaseModel):
    """What a replace has changed, source by source and in total; ``job_id`` is the last of the ``jobs``."""

    sources: list[ReplacedSource]
    added: int
    changed: int
    unchanged: int
    removed: int
    jobs: list[UUID]
    job_id: UUID | None
    run_id: UUID | None
    dry_run: bool
    waited: Waited | None = Field(description="Null unless `wait` was asked for.")
    warnings: list[str] = Field(description="As where extractions are handed in.")


class DeletedAnswer(BaseModel):
    """How many extractions went, and the jobs that delete their vectors."""

    deleted: int
    jobs: list[UUID]
    waited: Waited | None = Field(description="Null unless `wait` was asked for.")
    dry_run: bool = Field(
        default=False, description="True: nothing was deleted; `deleted` is how many would be."
    )
    warnings: Warnings = []


class RetriedAnswer(BaseModel):
    """How many extractions are tried again, and the jobs that embed them."""

    retried: int
    jobs: list[UUID]
    warnings: Warnings


class Count(BaseModel):
    """How many extractions there are."""

    count: int
    warnings: Warnings


class Progress(BaseModel):
    """How far a job is; ``total`` is null where nobody knows."""

    done: int
    total: int | None


class Job(BaseModel):
    """A job. ``attempts`` counts how often it was begun, ``failures`` how often it failed."""

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
    """A page of jobs, the newest first."""

    items: list[Job]
    next_cursor: str | None


class Pruned(BaseModel):
    """How many jobs were deleted."""

    pruned: int


class JobTypes(BaseModel):
    """The types of jobs that are paused."""

    paused: list[str]


class Part(BaseModel):
    """How one part answered."""

    part: str
    ok: bool
    latency_seconds: float
    error: str | None


class Readiness(BaseModel):
    """Whether the service can do its work, part by part."""

    ok: bool
    parts: list[Part]


class Durations(BaseModel):
    """How long the completed jobs of one type ran."""

    avg_seconds: float
    min_seconds: float
    max_seconds: float
    count: int


class PoolUse(BaseModel):
    """The connections to the database; ``checked_out`` is null where the pool doesn't count."""

    size: int
    checked_out: int | None
    overflow: int
    waits: int


class LaneUse(BaseModel):
    """A lane's counters; the counts and seconds since the start never go down."""

    limit: int
    active: int
    waiting: int
    rejected: int
    finished: int
    wait_seconds: float
    run_seconds: float


class Measurements(BaseModel):
    """Everything measured at one moment; ``jobs`` by type and status, ``extractions`` by type."""

    job_durations: dict[str, Durations]
    jobs: dict[str, dict[str, int]]
    extractions: dict[str, int]
    orphans: int
    set_aside: int
    pool: PoolUse
    lanes: dict[str, LaneUse]


class Liveness(BaseModel):
    """That the process answers."""

    ok: bool


def extraction_of(row: ExtractionRow) -> dict[str, Any]:
    """The JSON of an extraction; plain, because orjson writes a thousand of these in the time pydantic takes for ten."""
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


# --- sources, runs and changes ---------------------------------------------------------------------------


class SourceShown(Source):
    """A source of a project, and how many extractions it has. ``gone``: it has none."""

    created_at: datetime
    observed_at: datetime | None = Field(
        description="When what it was last replaced with was observed; null if it was never replaced."
    )
    extractions: int
    gone: bool

    @classmethod
    def of(cls, row: SourceRow) -> Self:
        """From the service's."""
        members = row._asdict()
        del members["project_id"]
        return cls(**members, gone=not row.extractions)


class Sources(BaseModel):
    """A page of sources, by id."""

    items: list[SourceShown]
    next_cursor: str | None


class PrunedSources(BaseModel):
    """How many sources were deleted."""

    pruned: int


class NewRun(Body):
    """A run to begin."""

    name: Label = Field(description="What the run is called. Runs of one name are told apart by their ids.")
    metadata: dict[str, Any] | None = Field(
        default=None, description=f"Whatever describes it; at most {MAX_METADATA_BYTES:,} bytes of JSON."
    )


class Run(BaseModel):
    """A run, and how many extractions were added, changed, left unchanged and removed under it."""

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
        """From the service's."""
        members = row._asdict()
        del members["project_id"]
        return cls(**members)


class Runs(BaseModel):
    """A page of runs, the newest first."""

    items: list[Run]
    next_cursor: str | None


class LeftAsItIs(BaseModel):
    """What an undo left as it is: an extraction, or the source's group (null)."""

    source_id: UUID
    extraction_id: UUID | None


class LeftAlone(BaseModel):
    """What was changed again after the run. ``items`` are the first 1,000 of ``count``."""

    count: int
    items: list[LeftAsItIs]


class UndoneAnswer(BaseModel):
    """What undoing a run has changed: ``added`` came back, ``removed`` went again. ``undone_by`` can be undone too."""

    run: UUID
    undone_by: UUID
    added: int
    changed: int
    removed: int
    left_alone: LeftAlone
    jobs: list[UUID]

    @classmethod
    def of(cls, undone: Undone) -> Self:
        """From the service's."""
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

    number: int = Field(description="The changes of one source in one transaction share theirs.")
    kind: ChangeKind
    at: datetime
    run_id: UUID | None
    source_id: UUID
    extraction_id: UUID | None
    before: dict[str, Any] | None = Field(
        description="What it was: the confidence and metadata of a changed extraction, a removed one whole, "
        "the group of a source in another group, or a deleted source."
    )
    after: dict[str, Any] | None = Field(description="The group that a source in another group then got.")
    extraction: Extraction | None = Field(
        description="The extraction as it is now; null where it is gone since."
    )


class HistoryAnswer(BaseModel):
    """Changes, the newest first. ``whole``: this page ends with the oldest, and nothing before it is missing."""

    items: list[ChangeShown]
    next_cursor: str | None
    whole: bool


class FeedAnswer(BaseModel):
    """Changes in the order in which they were committed. ``cursor`` is where to go on, also if ``more`` is false.

    ``whole``: none before them is missing; false where a feed begins that was pruned.
    """

    items: list[ChangeShown]
    cursor: str
    more: bool
    whole: bool


def change_of(change: Change) -> dict[str, Any]:
    """The JSON of a change, as plain as :func:`extraction_of`."""
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
    """A value, and how many extractions have it."""

    value: Any
    count: int


class Numbers(BaseModel):
    """How numbers are spread; the nine deciles are values that occur."""

    count: int
    min: float
    max: float
    mean: float
    deciles: list[float]


class Facet(BaseModel):
    """Extractions by what they have there. `rest_values` further values have `rest` together; `missing` have none."""

    by: str
    values: list[FacetValue]
    rest_values: int
    rest: int
    missing: int
    objects: int
    numbers: Numbers | None


class Facets(BaseModel):
    """How many extractions pass the filters, and what they have."""

    count: int
    facets: list[Facet]
    warnings: Warnings


class DescribedField(BaseModel):
    """A path, how many of the extractions looked at have it, of which kinds its values are, and some of them."""

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
    """The types of a project, by so many of its extractions; `whole`: these are all."""

    sampled: int
    whole: bool
    types: list[DescribedType]
