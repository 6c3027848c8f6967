"""The fields of a project's facts: describe them, and count facts by them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from app.database import Database, ReadSession
from app.domain.conditions import Field, InData, InMetadata
from app.domain.fields import DescribedField, DescribedType, Description, Facets
from app.domain.filters import ANY, Filters
from app.domain.ordering import Order
from app.domain.rows import ExtractionRow
from app.domain.times import time_of
from app.errors import InvalidField
from app.intake.where_text import parse_path, write_path
from app.services.filter_warnings import SAMPLED, fields_of, names_anything, sample_of, warnings_of
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facets import DAY, FacetRepository, countable
from app.services.storage.repositories.fields import FieldRepository
from app.services.storage.repositories.project import ProjectRepository

MOST_FACETS = 10
MOST_VALUES = 1_000

_MOST_FIELDS = 200
_MOST_EXAMPLES = 3
_EXAMPLE_CHARS = 100


class FieldService:
    """Describes the fields of a project's facts, and counts facts by them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def describe(self, project: str, *, sampled: int = SAMPLED) -> Description:
        """The types of a project and their fields, from up to ``sampled`` facts or 4 MiB of them.

        Raises:
            NotFound: the project doesn't exist.
        """

        def work(session: ReadSession) -> Description:
            project_id = ProjectRepository(session).get(project).id
            sample = sample_of(session, project_id, sampled)
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
            empty = [
                path
                for (_, path), facet in zip(paths, found, strict=True)
                if isinstance(path, InData | InMetadata) and facet.missing == total
            ]
            return Facets(total, found, warnings_of(session, in_project, paths=empty))

        return await self._database.read(work)

    async def warnings(
        self,
        project: str,
        filters: Filters,
        rows: Collection[ExtractionRow] = (),
        order: Order | None = None,
    ) -> tuple[str, ...]:
        """Warnings about the filters and the order; see :func:`warnings_of`.

        ``rows`` are facts already read.

        Raises:
            NotFound: the project doesn't exist.
        """
        sorted_by = [order.by] if order is not None and not isinstance(order.by, Field) else []
        if not (sorted_by or names_anything(filters)):
            return ()

        def work(session: ReadSession) -> tuple[str, ...]:
            in_project = replace(filters, project_id=ProjectRepository(session).get(project).id)
            return warnings_of(session, in_project, rows, paths=sorted_by)

        return await self._database.read(work)


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
        for path, values in fields_of(fact).items():
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
