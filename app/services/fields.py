"""The fields of a project's facts: describe and count them, and warn of paths that no fact has."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from app.database import Database, ReadSession
from app.domain.condition_values import FIELDS
from app.domain.conditions import Condition, Field, InData, InMetadata, leaves
from app.domain.field_paths import paths_in, values_at
from app.domain.fields import DescribedField, DescribedType, Description, Facets
from app.domain.filters import ANY, Filters
from app.domain.ids import ProjectId
from app.domain.rows import ExtractionRow
from app.domain.times import time_of
from app.errors import InvalidField
from app.intake.where_text import parse_path, write_path
from app.services.storage.repositories.data_indexes import DataIndexRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facets import DAY, FacetRepository, countable
from app.services.storage.repositories.fields import FieldRepository
from app.services.storage.repositories.project import ProjectRepository

MOST_FACETS = 10
MOST_VALUES = 1_000

_SAMPLED = 500
_SAMPLED_BYTES = 4 * 2**20
_LOOKED_AT = 20_000
_MOST_WARNINGS = 5
_MOST_FIELDS = 200
_MOST_EXAMPLES = 3
_EXAMPLE_CHARS = 100


class FieldService:
    """Describes the fields of a project's facts, and counts facts by them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def describe(self, project: str, *, sampled: int = _SAMPLED) -> Description:
        """The types of a project and their fields, from up to ``sampled`` facts or 4 MiB of them.

        Raises:
            NotFound: the project doesn't exist.
        """

        def work(session: ReadSession) -> Description:
            project_id = ProjectRepository(session).get(project).id
            sample = _sample(session, project_id, sampled)
            whole = not FieldRepository(session).are_more_than(project_id, len(sample))
            return Description(len(sample), whole, _described(sample))

        return await self._database.read(work)

    async def count_by(
        self, project: str, by: Sequence[str], filters: Filters = ANY, *, limit: int = 10
    ) -> Facets:
        """Count a project's facts that pass the filters, by the values of each of ``by``.

        The ``limit`` most frequent values of each are returned. Each of ``by`` is type, group,
        source, run, day (in UTC, when the fact was stored), or a path in the data or the metadata.

        Raises:
            NotFound: the project doesn't exist.
            InvalidField: facts can't be counted by one of these, or the limit is out of range.
        """
        paths = [(each, None if each == DAY else countable(parse_path(each))) for each in by]
        if not 1 <= len(paths) <= MOST_FACETS:
            raise InvalidField("by", f"name 1 to {MOST_FACETS} fields or paths to count by, not {len(paths):,}")
        if not 1 <= limit <= MOST_VALUES:
            raise InvalidField("limit", f"may be 1 to {MOST_VALUES:,}, not {limit}")

        def work(session: ReadSession) -> Facets:
            in_project = replace(filters, project_id=ProjectRepository(session).get(project).id)
            facets = FacetRepository(session)
            total = ExtractionRepository(session).count(in_project)
            found = [facets.facet(in_project, total, name, path, limit) for name, path in paths]
            project_id = in_project.project_id
            empty = [
                path
                for (_, path), facet in zip(paths, found, strict=True)
                if isinstance(path, InData | InMetadata) and facet.missing == total
            ]
            unknown = _unknown(session, project_id, empty)
            return Facets(total, found, (*warnings_of(session, project_id, filters.where), *unknown))

        return await self._database.read(work)

    async def warnings(
        self, project: str, filters: Filters, rows: Collection[ExtractionRow] = ()
    ) -> tuple[str, ...]:
        """Warnings about the filters; see :func:`warnings_of`. ``rows`` are facts already read.

        Raises:
            NotFound: the project doesn't exist.
        """
        where = filters.where
        if not _paths_of(where):
            return ()
        return await self._database.read(
            lambda session: warnings_of(session, ProjectRepository(session).get(project).id, where, rows)
        )


def warnings_of(
    session: ReadSession,
    project_id: ProjectId | UUID | str | None,
    where: Condition | None,
    rows: Collection[ExtractionRow] = (),
) -> tuple[str, ...]:
    """A warning for each path of the condition that no fact has, and for each that lacks an index.

    ``rows`` are facts already read.
    """
    if where is None or not (paths := _paths_of(where)):
        return ()
    if project_id is None:  # no index is used then
        return _unknown(session, None, _without(paths, rows))
    indexes, fields = DataIndexRepository(session), FieldRepository(session)
    known = indexes.having(paths, project_id)
    unknown = _unknown(session, project_id, [path for path in _without(paths, rows) if path not in known])
    lacking, filling = indexes.would_help(where)
    if not (lacking or filling) or not fields.are_more_than(project_id, _LOOKED_AT):
        return unknown
    of_filling = (f"the index on {path} is still being filled, and isn't used until then" for path in filling)
    return (*unknown, *(_would_help(path) for path in lacking[:_MOST_WARNINGS]), *of_filling)


def _unknown(
    session: ReadSession, project_id: ProjectId | UUID | str | None, paths: Sequence[InData | InMetadata]
) -> tuple[str, ...]:
    """A warning for each path that no fact has, five at most.

    If no fact of a sample has a path, up to 20,000 facts are read, as the warning says.
    """
    if not paths:
        return ()
    fields, sample = FieldRepository(session), _sample(session, project_id, _SAMPLED)
    if not sample:
        return ()
    names = _names(sample)
    found = list[str]()
    for path in _without(paths, sample):
        if len(found) < _MOST_WARNINGS and not fields.first_has(project_id, path, most=_LOOKED_AT):
            some = fields.are_more_than(project_id, _LOOKED_AT)
            who = f"none of {_LOOKED_AT:,} facts looked at has" if some else "no fact has"
            found.append(f"{who} {write_path(path)}{_nearest(write_path(path), names)}")
    return tuple(found)


def _would_help(path: str) -> str:
    return (
        f"no index finds {path}, so each of more than {_LOOKED_AT:,} facts is read; name it in database.data_indexes, "
        "and run agent-storage db upgrade"
    )


def _sample(
    session: ReadSession, project_id: ProjectId | UUID | str | None, most: int
) -> Sequence[ExtractionRow]:
    """The first facts by id: ids are hashes, so this is a random sample."""
    rows, _ = ExtractionRepository(session).list_within(_SAMPLED_BYTES, Filters(project_id), limit=most)
    return rows


def _paths_of(where: Condition | None) -> list[InData | InMetadata]:
    found = dict.fromkeys(leaf.where for leaf in leaves(where)) if where is not None else {}
    return [path for path in found if not isinstance(path, Field)]


def _without(
    paths: Sequence[InData | InMetadata], facts: Collection[ExtractionRow]
) -> list[InData | InMetadata]:
    """The paths that none of the facts has."""
    return [path for path in paths if not any(_has(fact, path) for fact in facts)]


def _has(fact: ExtractionRow, path: InData | InMetadata) -> bool:
    return bool(values_at(fact.data if isinstance(path, InData) else fact.metadata, path.keys))


def _names(facts: Sequence[ExtractionRow]) -> list[str]:
    """The names of all fields, as written in conditions."""
    own = Counter(path for fact in facts for path in _fields_of(fact))
    return [*FIELDS, *(write_path(path) for path, _ in own.most_common(_MOST_FIELDS))]


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name[:_EXAMPLE_CHARS], names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _fields_of(fact: ExtractionRow) -> dict[InData | InMetadata, list[Any]]:
    """The paths in a fact that lead to scalars, with the scalars."""
    found = dict[InData | InMetadata, list[Any]]()
    for root, document in ((InData, fact.data), (InMetadata, fact.metadata)):
        for keys, value in paths_in(document):
            if keys:
                found.setdefault(root(keys), []).append(value)
    return found


def _described(sample: Sequence[ExtractionRow]) -> list[DescribedType]:
    by_type = dict[str, list[ExtractionRow]]()
    for fact in sample:
        by_type.setdefault(fact.extraction_type, []).append(fact)
    found = [DescribedType(type_, len(facts), _fields(facts)) for type_, facts in by_type.items()]
    return sorted(found, key=lambda each: (-each.facts, each.type))


def _fields(facts: Sequence[ExtractionRow]) -> list[DescribedField]:
    having, kinds = Counter[InData | InMetadata](), dict[InData | InMetadata, Counter[str]]()
    examples = dict[InData | InMetadata, dict[str, Any]]()
    for fact in facts:
        for path, values in _fields_of(fact).items():
            having[path] += 1
            kinds.setdefault(path, Counter()).update({_kind(value) for value in values})
            of_path = examples.setdefault(path, {})
            for value in values:
                if len(of_path) < _MOST_EXAMPLES and value is not None:
                    of_path.setdefault(repr(value), _shortened(value))
    return [
        DescribedField(write_path(path), count, dict(kinds[path]), list(examples[path].values()))
        for path, count in sorted(having.items(), key=lambda each: (-each[1], write_path(each[0])))[
            :_MOST_FIELDS
        ]
    ]


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text" if time_of(value) is None else "time"
        case _:
            return "number"


def _shortened(value: object) -> object:
    if isinstance(value, str) and len(value) > _EXAMPLE_CHARS:
        return f"{value[:_EXAMPLE_CHARS]}…"
    return value
