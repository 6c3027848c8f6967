"""The words of extractions: written with them, found by each database's own full-text index."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    TextClause,
    any_,
    bindparam,
    cast,
    delete,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId
from app.domain.jobs import JobStatus, JobType
from app.models import OPEN_JOB, WORDS_INDEX, Extraction, ExtractionWords, Job, Project, UuidText
from app.services.storage.repositories.bulk_insert import insert_all
from app.services.storage.repositories.filtering import passing, passing_among
from app.services.storage.repositories.id_lists import Ids, among, among_bound, bound

_TABLE = ExtractionWords.__table__
_EXTRACTIONS = Extraction.__table__
_OF_EXTRACTION = _TABLE.c.extraction_id == _EXTRACTIONS.c.id

_POSTINGS = {
    "sqlite": "(SELECT json_group_array(rowid) FROM (SELECT rowid FROM {index} WHERE {index} MATCH :t{n} LIMIT :most))",
    "postgresql": "(SELECT coalesce(json_agg(number), '[]') FROM (SELECT number FROM extraction_words "
    "WHERE tokens @@ CAST(:t{n} AS tsquery) LIMIT :most) AS found)",
}
_ARRAY = {"sqlite": "json_array", "postgresql": "json_build_array"}
_AND = {"sqlite": " AND ", "postgresql": " & "}
_OR = {"sqlite": " OR ", "postgresql": " | "}
_HAS = {
    "sqlite": "extraction_words.number IN (SELECT rowid FROM {index} WHERE {index} MATCH :tokens)",
    "postgresql": "extraction_words.tokens @@ CAST(:tokens AS tsquery)",
}


@dataclass(frozen=True, slots=True)
class Documents:
    """Extractions with their words; each position of the lists belongs to one extraction."""

    ids: Sequence[str]
    lengths: Sequence[int]
    counts: Sequence[str]
    tokens: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    def __or__(self, others: "Documents") -> "Documents":
        """These documents, and those of ``others`` that aren't among them."""
        known = set(self.ids)
        new = [at for at, id_ in enumerate(others.ids) if id_ not in known]
        return Documents(
            [*self.ids, *(others.ids[at] for at in new)],
            [*self.lengths, *(others.lengths[at] for at in new)],
            [*self.counts, *(others.counts[at] for at in new)],
            [*self.tokens, *(others.tokens[at] for at in new)],
        )


class WordsRow(NamedTuple):
    """The words of an extraction, as stored."""

    extraction_id: ExtractionId
    made_by: int
    language: str
    length: int
    counts: str
    tokens: str


class WordsRepository:
    """Works on a session, in its transaction; never commits. Rows are identified by number."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def add_batch(self, rows: Sequence[WordsRow]) -> None:
        """Store the words of extractions without any. Deleting an extraction deletes its words."""
        if rows:
            columns = dict(zip(WordsRow._fields, zip(*rows, strict=True), strict=True))
            insert_all(self._session, _TABLE, columns)

    def delete_batch(self, ids: Ids) -> None:
        """Delete the words of these extractions."""
        if ids:
            self._session.execute(delete(_TABLE).where(among(_TABLE.c.extraction_id, ids, self._dialect)))

    def made_by(self, ids: Ids) -> dict[str, int]:
        """The version of the rules that made these extractions' words, by id, if they have any."""
        columns = cast(_TABLE.c.extraction_id, Text), _TABLE.c.made_by
        chosen = among(_TABLE.c.extraction_id, ids, self._dialect)
        if self._dialect == "sqlite":  # one row: the driver releases the GIL at each
            found: dict[str, int] = orjson.loads(
                self._session.scalar(select(func.json_group_object(*columns)).where(chosen)) or "{}"
            )
            return found
        return {row[0]: row[1] for row in self._session.execute(select(*columns).where(chosen))}

    def projects(self, project_id: UUID | str | None) -> tuple[dict[ProjectId, int], bool]:
        """The newest ledger entry of the project, or of each, and whether all words are made.

        They aren't while a job that makes the words of older extractions is open or has failed.
        """
        given = {} if project_id is None else {"project": project_id}
        found = self._session.connection().execute(_projects(one=project_id is not None), given).all()
        return {row[0]: row[1] for row in found}, not any(row[2] for row in found)

    def postings(self, tokens: Sequence[str], most: int) -> dict[str, list[int]]:
        """The rows that have each token, at most ``most`` for each; one statement."""
        if not tokens:
            return {}
        return dict(zip(tokens, self._numbers(tokens, most), strict=True))

    def having_all(self, tokens: Sequence[str], most: int) -> list[int]:
        """The rows that have all the tokens, at most ``most``."""
        return self._numbers([_AND[self._dialect].join(tokens)], most)[0]

    def passing_any(self, tokens: Sequence[str], filters: Filters, most: int) -> list[int]:
        """The rows that have any of the tokens and pass the filters, at most ``most``."""
        query = passing(self._session, filters, _TABLE.c.number).join(_TABLE, _OF_EXTRACTION)
        query = query.where(text(_HAS[self._dialect].format(index=WORDS_INDEX))).limit(most)
        return list(self._session.scalars(query, {"tokens": _OR[self._dialect].join(tokens)}))

    def documents(self, numbers: Collection[int], filters: Filters) -> Documents:
        """The words of those rows whose extractions pass the filters, in any order."""
        if filters == Filters(filters.project_id):
            query = _words_of_numbers(self._dialect)
        else:
            # Each project has its own tokens, so the rows found belong to this project.
            numbered, columns = _numbered(self._dialect), _selected(self._dialect)
            query = passing_among(self._session, numbered, filters, *columns).join(_TABLE, _OF_EXTRACTION)
        given = list(numbers) if self._dialect == "postgresql" else orjson.dumps(list(numbers)).decode()
        return self._documents(query, {"numbers": given})

    def documents_of(self, ids: Ids) -> Documents:
        """The words of these extractions, in any order; extractions without words are left out."""
        return self._documents(_words_of_ids(self._dialect), {"ids": bound(ids, self._dialect)})

    def sample(self, project_id: ProjectId, size: int) -> Documents:
        """The words of the project's first extractions. Ids are hashes, so the sample is random."""
        first = select(_EXTRACTIONS.c.id).where(_EXTRACTIONS.c.project_id == project_id)
        first = first.order_by(_EXTRACTIONS.c.id).limit(size)
        query = select(*_selected(self._dialect)).where(_TABLE.c.extraction_id.in_(first))
        return self._documents(query, {})

    def languages(self, ids: Ids) -> tuple[str, ...]:
        """The languages of the stems of these extractions' words, the most frequent first."""
        query = select(_TABLE.c.language).where(among(_TABLE.c.extraction_id, ids, self._dialect))
        query = query.group_by(_TABLE.c.language).order_by(func.count().desc(), _TABLE.c.language)
        return tuple(self._session.scalars(query))

    def _numbers(self, queries: Sequence[str], most: int) -> list[list[int]]:
        given = {f"t{place}": query for place, query in enumerate(queries)}
        found = self._session.scalar(_lists(self._dialect, len(queries)), {**given, "most": most})
        lists: list[list[int]] = orjson.loads(found) if isinstance(found, str) else found
        return lists

    def _documents(self, query: Select[Any], given: dict[str, Any]) -> Documents:
        [columns] = self._session.connection().execute(query, given)
        return Documents(*(orjson.loads(column or "[]") for column in columns))


@cache
def _selected(dialect: str) -> tuple[ColumnElement[Any], ...]:
    """The columns to read :class:`Documents`: one row, with a JSON array for each list.

    Reading rows would take three times as long: each is an object or two, and SQLite's driver
    releases the GIL at each. PostgreSQL writes a tsvector with quotes around each token.
    """
    tokens = func.replace(cast(_TABLE.c.tokens, Text), "'", "")
    columns = cast(_TABLE.c.extraction_id, Text), _TABLE.c.length, _TABLE.c.counts, tokens
    if dialect == "sqlite":
        return tuple(func.json_group_array(column) for column in columns)
    return tuple(cast(func.json_agg(column), Text) for column in columns)


@cache
def _projects(*, one: bool) -> Select[Any]:
    making = select(Job.id).where(
        text("unique_key IS NOT NULL"), text(OPEN_JOB), Job.unique_key == JobType.INDEX_WORDS
    )
    failed = select(Job.id).where(Job.type == JobType.INDEX_WORDS, Job.status == JobStatus.FAILED)
    columns: list[Any] = [Project.id, Project.last_change, or_(making.exists(), failed.exists())]
    query = select(*columns)
    return query.where(Project.id == bindparam("project", type_=UuidText)) if one else query


@cache
def _words_of_numbers(dialect: str) -> Select[Any]:
    return select(*_selected(dialect)).where(_numbered(dialect))


@cache
def _words_of_ids(dialect: str) -> Select[Any]:
    ids = bindparam("ids", type_=NullType())
    return select(*_selected(dialect)).where(among_bound(_TABLE.c.extraction_id, ids, dialect))


@cache
def _numbered(dialect: str) -> ColumnElement[bool]:
    numbers = bindparam("numbers", type_=NullType())
    if dialect == "postgresql":
        return _TABLE.c.number == any_(cast(numbers, ARRAY(BigInteger)))
    return _TABLE.c.number.in_(select(func.json_each(numbers).table_valued("value").c.value))


@cache
def _lists(dialect: str, queries: int) -> TextClause:
    one = _POSTINGS[dialect]
    lists = ", ".join(one.format(index=WORDS_INDEX, n=place) for place in range(queries))
    return text(f"SELECT {_ARRAY[dialect]}({lists})")
