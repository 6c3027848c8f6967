"""The tables. SQL is the truth; Qdrant is an index of ``extractions`` that can be rebuilt.

All are in one module, because they refer to each other and migrations compare them as a whole.
"""

import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    Uuid,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.types import TypeEngine

from app.domain.ids import ExtractionId, JobId, ProjectId, RunId, SourceId, parse_uuid
from app.domain.jobs import JobStatus


class UuidText(TypeDecorator[uuid.UUID]):
    """A UUID: native on PostgreSQL, its 36-character text elsewhere.

    SQLAlchemy's own ``Uuid`` stores 32 hex digits on SQLite, where a cast to text would not be
    ``str(uuid)``; with this type it is, on every dialect.
    """

    impl = Uuid
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the column's type on ``dialect``."""
        return dialect.type_descriptor(Uuid() if dialect.name == "postgresql" else String(36))

    def process_bind_param(self, value: uuid.UUID | str | None, dialect: Dialect) -> uuid.UUID | str | None:
        """Convert a UUID or its canonical text to the form that ``dialect`` stores."""
        if value is None:
            return None
        if dialect.name == "postgresql":
            return value if isinstance(value, uuid.UUID) else uuid.UUID(value)
        return str(value)

    def process_result_value(self, value: uuid.UUID | str | None, dialect: Dialect) -> uuid.UUID | None:  # noqa: ARG002 - SQLAlchemy's
        """Convert the stored value to a UUID."""
        return parse_uuid(value) if isinstance(value, str) else value


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware instant in UTC, to the microsecond, on every dialect.

    SQLite stores it as text ``YYYY-MM-DD HH:MM:SS.ffffff``, which sorts by time. A naive value is
    refused.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """Convert to UTC.

        Raises:
            ValueError: the value has no timezone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a timestamp without a timezone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - SQLAlchemy's
        """Convert the stored value to UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@lru_cache(maxsize=1_000)
def parse_moment(text: str) -> datetime:
    """Parse SQLite's text of an instant; cached, because rows of one transaction share theirs."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def utc_now() -> datetime:
    """Return this process's time; for display and creation times, never for leases."""
    return datetime.now(UTC)


JsonDocument = JSON(none_as_null=True)
"""JSON stored as the original text, on PostgreSQL too.

JSONB would turn ``1e16`` into an integer and round it, so that different numbers become equal.
"""

ORPHANED = "embedding_id IS NULL AND set_aside_reason IS NULL"
"""The condition for an extraction that waits for its vector.

PostgreSQL and SQLite only use the partial index if a query contains exactly this text.
"""

OPEN_JOB = "status IN ('queued', 'running', 'cancelling')"
"""The condition for a job that may have to be claimed or swept; see :data:`ORPHANED`."""

REMOVING = "removed > 0"
"""The condition for a ledger entry that has removed rows; see :data:`ORPHANED`."""

FINISHED_JOB = "completed_at IS NOT NULL"
"""The condition for a job that won't run again unless it is retried; see :data:`ORPHANED`."""


GIN_OPTIONS = {"gin_pending_list_limit": 256}
"""In KiB. A search reads the whole pending list; with the default limit, 4 MiB, it takes 10 ms."""

OF_DIALECT = "dialect"
"""The key in an index's ``info`` for the name of the only dialect that has the index."""

WORDS_INDEX = "extraction_words_index"
"""SQLite's full-text table."""

_WORDS_TABLE = """
CREATE VIRTUAL TABLE extraction_words_index
USING fts5(tokens, content='extraction_words', content_rowid='number', detail=none, columnsize=0, tokenize='ascii')
"""
_WORDS_ADDED = """
CREATE TRIGGER extraction_words_added AFTER INSERT ON extraction_words BEGIN
    INSERT INTO extraction_words_index (rowid, tokens) VALUES (new.number, new.tokens);
END
"""
_WORDS_REMOVED = """
CREATE TRIGGER extraction_words_removed AFTER DELETE ON extraction_words BEGIN
    INSERT INTO extraction_words_index (extraction_words_index, rowid, tokens)
    VALUES ('delete', old.number, old.tokens);
END
"""
WORDS_INDEX_ON_SQLITE = (_WORDS_TABLE, _WORDS_ADDED, _WORDS_REMOVED)
"""The triggers also run for cascading deletes. Words are never updated, only deleted and inserted.
"""

DROP_WORDS_INDEX_ON_SQLITE = "DROP TABLE extraction_words_index"


def _partial_index(name: str, *columns: str | ColumnElement[Any], where: str, unique: bool = False) -> Index:
    return Index(name, *columns, unique=unique, sqlite_where=text(where), postgresql_where=text(where))


class Base(DeclarativeBase):
    """The declarative base. It fixes constraints' names, so that migrations can refer to them."""

    __table__: ClassVar[Table]

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Project(Base):
    """A named group of sources and their extractions.

    ``last_change`` is the number of its newest ledger entry. A transaction that writes to the
    ledger increments it first, which locks the row until the commit: entries become visible in the
    order of their numbers, without gaps. ``pruned_through`` is the highest number that was deleted
    from the ledger.
    """

    __tablename__ = "projects"

    id: Mapped[ProjectId] = mapped_column(UuidText, primary_key=True)
    # Sorted by code point on PostgreSQL too, because a cursor continues after a name, and the
    # database's collation may differ from SQLite's.
    name: Mapped[str] = mapped_column(Text().with_variant(Text(collation="C"), "postgresql"), unique=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    last_change: Mapped[int] = mapped_column(BigInteger, server_default="0")
    pruned_through: Mapped[int] = mapped_column(BigInteger, server_default="0")


class Source(Base):
    """A source of extractions: a URI, unique in its project, with an optional group; both in NFC.

    The id is derived from the project and the URI, which keeps the URI unique. There is no index on
    URIs, because PostgreSQL's indexes take at most 2,704 bytes and a URI may have 8,000 characters.
    ``observed_at`` is when the content of the last replace was observed.
    """

    __tablename__ = "sources"
    __table_args__ = (Index(None, "project_id", "source_group"),)

    id: Mapped[SourceId] = mapped_column(UuidText, primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    uri: Mapped[str] = mapped_column(Text)
    source_group: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    observed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Extraction(Base):
    """A fact with JSON data.

    ``embedding_id`` is NULL until Qdrant has acknowledged the vector, and then ``str(id)``.
    ``set_aside_reason`` is why an item that keeps failing isn't retried; NULL for all others.
    ``first_run_id`` and ``last_run_id`` are the first and the last run that asserted the fact. Only
    ``confidence`` and ``metadata`` may change; ``changed_at`` is when one of them last did, NULL if
    they never have. ``data`` is one of the last columns, because SQLite reads a row up to the last
    column that it needs.
    """

    __tablename__ = "extractions"
    __table_args__ = (
        Index(None, "project_id", "id"),
        Index(None, "project_id", "created_at", "id"),
        Index(None, "source_id"),
        _partial_index("ix_extractions_orphaned", "id", where=ORPHANED),
        _partial_index("ix_extractions_set_aside", "id", where="set_aside_reason IS NOT NULL"),
    )

    id: Mapped[ExtractionId] = mapped_column(UuidText, primary_key=True)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    source_id: Mapped[SourceId] = mapped_column(ForeignKey("sources.id", ondelete="CASCADE"))
    extraction_type: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float | None] = mapped_column(Float(53))
    embedding_id: Mapped[str | None] = mapped_column(Text)
    set_aside_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    data: Mapped[dict[str, Any]] = mapped_column(JsonDocument)
    first_run_id: Mapped[RunId | None] = mapped_column(UuidText)
    last_run_id: Mapped[RunId | None] = mapped_column(UuidText)
    # SQLAlchemy reserves the attribute name `metadata`.
    own_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", JsonDocument)
    changed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class ExtractionWords(Base):
    """The words of an extraction, for the full-text search; see :mod:`app.words`.

    ``tokens`` are its distinct terms, eight characters each and sorted. ``counts`` has one
    character for each token: how often it occurs. ``length`` is the total number of terms,
    ``language`` the language of their stems, ``made_by`` the version of the rules that made them.
    SQLite finds tokens by the full-text table ``extraction_words_index``, which triggers maintain,
    PostgreSQL by a GIN index.
    """

    __tablename__ = "extraction_words"
    __table_args__ = (
        Index(None, "extraction_id", unique=True),
        Index(
            None,
            "tokens",
            postgresql_using="gin",
            postgresql_with=GIN_OPTIONS,
            info={OF_DIALECT: "postgresql"},
        ).ddl_if("postgresql"),
    )

    number: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    extraction_id: Mapped[ExtractionId] = mapped_column(ForeignKey("extractions.id", ondelete="CASCADE"))
    made_by: Mapped[int] = mapped_column(Integer)
    language: Mapped[str] = mapped_column(Text)
    length: Mapped[int] = mapped_column(Integer)
    counts: Mapped[str] = mapped_column(Text)
    tokens: Mapped[str] = mapped_column(Text().with_variant(TSVECTOR(), "postgresql"))


class DataIndex(Base):
    """An index on a path of the facts' documents; see :mod:`app.domain.value_keys`.

    ``path`` has the syntax of conditions. The index is filled in the order of the facts' ids;
    ``filled_to`` is the last id that is done.
    """

    __tablename__ = "data_indexes"
    # Numbers aren't reused, so that a job that still fills a dropped index can't write to another.
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    filled_to: Mapped[ExtractionId | None] = mapped_column(UuidText)


class DataKey(Base):
    """A key by which an index finds a fact; it starts with a prefix of the project's id."""

    __tablename__ = "data_keys"
    __table_args__ = (Index(None, "extraction_id"), {"sqlite_with_rowid": False})

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(Text().with_variant(Text(collation="C"), "postgresql"), primary_key=True)
    extraction_id: Mapped[ExtractionId] = mapped_column(
        ForeignKey("extractions.id", ondelete="CASCADE"), primary_key=True
    )


def _on_sqlite(statement: str) -> ExecutableDDLElement:
    # `execute_if` has no types.
    made: ExecutableDDLElement = DDL(statement).execute_if(dialect="sqlite")  # type: ignore[no-untyped-call]
    return made


for _statement in WORDS_INDEX_ON_SQLITE:
    event.listen(ExtractionWords.__table__, "after_create", _on_sqlite(_statement))
event.listen(ExtractionWords.__table__, "before_drop", _on_sqlite(DROP_WORDS_INDEX_ON_SQLITE))


class Run(Base):
    """One pass of a pipeline over its sources, with the counts of its changes.

    ``first_change`` is the number of the run's first ledger entry. ``undoes`` is the run that this
    one undoes, if any.
    """

    __tablename__ = "runs"
    __table_args__ = (Index(None, "project_id", "begun_at", "id"),)

    id: Mapped[RunId] = mapped_column(UuidText, primary_key=True, default=uuid.uuid4)
    project_id: Mapped[ProjectId] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    begun_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    undoes: Mapped[RunId | None] = mapped_column(UuidText)
    first_change: Mapped[int | None] = mapped_column(BigInteger)
    added: Mapped[int] = mapped_column(BigInteger, default=0)
    changed: Mapped[int] = mapped_column(BigInteger, default=0)
    unchanged: Mapped[int] = mapped_column(BigInteger, default=0)
    removed: Mapped[int] = mapped_column(BigInteger, default=0)
    run_metadata: Mapped[dict[str, Any] | None] = mapped_column("metadata", JsonDocument)


class LedgerEntry(Base):
    """The changes of one source in one transaction; append-only, and pruned from the oldest on.

    ``number`` counts a project's entries; see :class:`Project`. ``changes`` holds the ids of added
    extractions, the previous values of changed ones, and the complete rows of removed ones: see
    :mod:`app.services.storage.repositories.ledger`. There are no foreign keys, because an entry
    outlives the rows that it describes, and checking them would take as long as the insert.
    """

    __tablename__ = "ledger"
    __table_args__ = (
        Index(None, "source_id", "number"),
        _partial_index("ix_ledger_run_id", "run_id", "number", where="run_id IS NOT NULL"),
        _partial_index("ix_ledger_removing", "project_id", "number", where=REMOVING),
        {"sqlite_with_rowid": False},
    )

    project_id: Mapped[ProjectId] = mapped_column(UuidText, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    source_id: Mapped[SourceId] = mapped_column(UuidText)
    run_id: Mapped[RunId | None] = mapped_column(UuidText)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    added: Mapped[int] = mapped_column(Integer)
    changed: Mapped[int] = mapped_column(Integer)
    removed: Mapped[int] = mapped_column(Integer)
    size: Mapped[int] = mapped_column(Integer)
    changes: Mapped[dict[str, Any]] = mapped_column(JsonDocument)


class Job(Base):
    """Work that follows a write; inserted in the write's transaction (a transactional outbox).

    ``attempt`` counts claims and is the fencing token. ``failures`` counts failed attempts,
    ``lapses`` those whose lease expired; a manual retry resets both. ``run_at`` is the earliest
    time of the next claim. At most one open job has a given ``unique_key``. The progress is
    ``done`` of ``total``. The columns that can be long come before those of later migrations, as
    migrations append; SQLite reads a row up to the last column that it needs.
    """

    __tablename__ = "jobs"

    id: Mapped[JobId] = mapped_column(UuidText, primary_key=True, default=uuid.uuid4)
    type: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, default=JobStatus.QUEUED)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancel_requested_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now, onupdate=utc_now)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    payload: Mapped[dict[str, Any]] = mapped_column(JsonDocument, default=dict)
    result: Mapped[dict[str, Any] | None] = mapped_column(JsonDocument)
    error: Mapped[str | None] = mapped_column(Text)
    run_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    lapses: Mapped[int] = mapped_column(Integer, default=0)
    unique_key: Mapped[str | None] = mapped_column(Text)
    project_id: Mapped[ProjectId | None] = mapped_column(UuidText)
    done: Mapped[int] = mapped_column(Integer, default=0)
    total: Mapped[int | None] = mapped_column(Integer)

    __table_args__ = (
        CheckConstraint(
            "status IN ('queued', 'running', 'completed', 'failed', 'cancelling', 'cancelled')", name="status"
        ),
        Index(None, "type", "status"),
        Index(None, "created_at", "id"),
        _partial_index("ix_jobs_open", priority.desc(), "run_at", where=OPEN_JOB),
        _partial_index("ix_jobs_finished", "completed_at", where=FINISHED_JOB),
        _partial_index(
            "uq_jobs_unique_key", "unique_key", where=f"unique_key IS NOT NULL AND {OPEN_JOB}", unique=True
        ),
    )


class JobTotal(Base):
    """Counters of ended jobs by type and status, and of their durations; never pruned.

    Durations are from the first start to the end, in microseconds; they are only kept for completed
    jobs.
    """

    __tablename__ = "job_totals"

    type: Mapped[str] = mapped_column(Text, primary_key=True)
    status: Mapped[str] = mapped_column(Text, primary_key=True)
    jobs: Mapped[int] = mapped_column(BigInteger)
    timed: Mapped[int] = mapped_column(BigInteger)
    microseconds: Mapped[int] = mapped_column(BigInteger)
    least: Mapped[int | None] = mapped_column(BigInteger)
    greatest: Mapped[int | None] = mapped_column(BigInteger)


class PausedJobType(Base):
    """A job type that workers don't claim at the moment."""

    __tablename__ = "paused_job_types"

    type: Mapped[str] = mapped_column(Text, primary_key=True)
    paused_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)


class IdempotencyKey(Base):
    """The answer to a request with an ``Idempotency-Key``, for each part of its body.

    ``fingerprint`` detects a different request with the same key; ``answer`` is the data to repeat
    the answer.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "created_at"),)

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    part: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    fingerprint: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=utc_now)
    answer: Mapped[dict[str, Any]] = mapped_column(JsonDocument)


class IndexState(Base):
    """The embedder and text rules that made the vectors, in one row (``id`` = 1).

    ``texts`` identifies the rules by which texts were composed:
    :attr:`app.domain.text.TextRules.identity`. ``rebuilding`` is true from the moment a reindex
    clears every ``embedding_id`` until every extraction has its new vector; the index isn't used
    meanwhile. ``generation`` counts the rebuilds, and is in the payload of each vector that a
    rebuild made.
    """

    __tablename__ = "index_state"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    embedder_name: Mapped[str] = mapped_column(Text)
    embedder_version: Mapped[str] = mapped_column(Text)
    dimension: Mapped[int] = mapped_column(Integer)
    rebuilding: Mapped[bool] = mapped_column(default=False)
    generation: Mapped[int] = mapped_column(Integer, default=0)
    texts: Mapped[str] = mapped_column(Text, server_default="version 1")


class StoreIdentity(Base):
    """This store's random id, in one row (``id`` = 1); every index of the store records it."""

    __tablename__ = "store_identity"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    store_id: Mapped[uuid.UUID] = mapped_column(UuidText)
