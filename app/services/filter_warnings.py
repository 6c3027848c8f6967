"""Warnings about filters and orders that look wrong, judged by some of the facts.

They name paths, types, groups and sources that no fact has, values of another kind than the facts',
and paths for which an index would help.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from app.database import ReadSession
from app.domain.condition_values import FIELDS
from app.domain.conditions import (
    Compare,
    Condition,
    Contains,
    Field,
    In,
    InData,
    InMetadata,
    Leaf,
    Starts,
    leaves,
)
from app.domain.field_paths import paths_in, values_at
from app.domain.filters import Filters
from app.domain.rows import ExtractionRow
from app.intake.where_text import write_path
from app.services.storage.repositories.data_indexes import DataIndexRepository
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.fields import LABELS, FieldRepository

SAMPLED = 500
"""How many facts are read to judge filters by; fewer if they are large."""

_SAMPLED_BYTES = 4 * 2**20
_LOOKED_AT = 20_000
_MOST_WARNINGS = 5
_MOST_FIELDS = 200
_SHOWN_CHARS = 100

_InFact = InData | InMetadata


class _Label(NamedTuple):
    """A type, a group or a source that facts are filtered by; ``name`` is the field."""

    name: str
    value: str


def names_anything(filters: Filters) -> bool:
    """Whether the filters name a path, a type, a group or a source, of which there may be none."""
    return bool(_paths_of(filters.where) or _labels_of(filters))


def warnings_of(
    session: ReadSession,
    filters: Filters,
    rows: Collection[ExtractionRow] = (),
    *,
    paths: Sequence[_InFact] = (),
) -> tuple[str, ...]:
    """The warnings about filters on a project, or on all, and about further ``paths``.

    ``rows`` are facts already read. If no fact of a sample has a path or a label, up to 20,000
    facts are read, as the warning says.
    """
    facts = _Facts(session, filters.project_id, rows)
    of_where = _paths_of(filters.where)
    known, of_indexes = _of_indexes(session, filters, of_where)
    unknown = [path for path in dict.fromkeys((*of_where, *paths)) if path not in known]
    return (
        *facts.unknown_paths(unknown),
        *facts.unknown_labels(_labels_of(filters)),
        *facts.other_kinds(leaves(filters.where) if filters.where is not None else ()),
        *of_indexes,
    )


def sample_of(session: ReadSession, project_id: UUID | str | None, most: int) -> Sequence[ExtractionRow]:
    """The first facts by id: ids are hashes, so this is a random sample."""
    rows, _ = ExtractionRepository(session).list_within(_SAMPLED_BYTES, Filters(project_id), limit=most)
    return rows


def fields_of(fact: ExtractionRow) -> dict[InData | InMetadata, list[Any]]:
    """The paths in a fact that lead to scalars, with the scalars."""
    found = dict[InData | InMetadata, list[Any]]()
    for root, document in ((InData, fact.data), (InMetadata, fact.metadata)):
        for keys, value in paths_in(document):
            if keys:
                found.setdefault(root(keys), []).append(value)
    return found


class _Facts:
    """The facts that filters are judged by: those already read, and then a sample."""

    def __init__(
        self, session: ReadSession, project_id: UUID | str | None, rows: Collection[ExtractionRow]
    ) -> None:
        self._session = session
        self._project_id = project_id
        self._rows = rows
        self._stored = FieldRepository(session)

    @cached_property
    def _sample(self) -> Sequence[ExtractionRow]:
        return sample_of(self._session, self._project_id, SAMPLED)

    @cached_property
    def _none(self) -> str:
        some = self._stored.are_more_than(self._project_id, _LOOKED_AT)
        return f"none of {_LOOKED_AT:,} facts looked at has" if some else "no fact has"

    def unknown_paths(self, paths: Sequence[_InFact]) -> Iterator[str]:
        """A warning for each path that no fact has, five at most."""
        missing = [path for path in paths if not any(_has(fact, path) for fact in self._rows)]
        found = 0
        for path in missing:
            if found == _MOST_WARNINGS or not self._sample or any(_has(fact, path) for fact in self._sample):
                continue
            if not self._stored.first_has(self._project_id, path, most=_LOOKED_AT):
                found += 1
                told = write_path(path)
                yield f"{self._none} {told}{_nearest(told, _names(self._sample))}"

    def unknown_labels(self, labels: Sequence[_Label]) -> Iterator[str]:
        """A warning for each type, group and source that no fact has, five at most."""
        missing = [each for each in labels if each.value not in _values(each.name, self._rows)]
        found = 0
        for name, value in missing:
            # The sample is read last: a page of hits often lacks one of several sources asked for.
            if found == _MOST_WARNINGS or self._stored.has_label(
                self._project_id, name, value, most=_LOOKED_AT
            ):
                continue
            if self._sample:
                found += 1
                none = "no fact has" if self._stored.finds(self._project_id, name) else self._none
                yield f"{none} the {name} {_shown(value)}{_nearest(value, _values(name, self._sample))}"

    def other_kinds(self, conditions: Iterable[Leaf]) -> Iterator[str]:
        """A warning for each path whose values are never of the kind that it is compared with."""
        asked = {(leaf.where, kind) for leaf in conditions if (kind := _kind_asked(leaf)) is not None}
        for path, kind in sorted(asked, key=lambda each: (write_path(each[0]), each[1]))[:_MOST_WARNINGS]:
            if isinstance(path, Field) or kind in _kinds(_values_at(path, self._rows)):
                continue
            stored = _kinds(_values_at(path, self._sample))
            if stored and kind not in stored:
                yield _OTHER_KIND[kind].format(path=write_path(path), example=next(iter(stored.values())))


_OTHER_KIND = {
    "number": "{path} is compared with a number, and is a text in all facts looked at, such as {example}; a text "
    "never matches a number. Hand in numbers (in CSV: --number), or compare with a text in quotes",
    "text": "{path} is compared with a text, and is a number in all facts looked at, such as {example}; a number "
    "never matches a text. Write the number without quotes",
}


def _of_indexes(
    session: ReadSession, filters: Filters, paths: Sequence[_InFact]
) -> tuple[Collection[_InFact], Sequence[str]]:
    """Which of the paths an index knows that facts have, and where an index would help."""
    if not paths or filters.where is None or filters.project_id is None:  # no index is used then
        return (), ()
    indexes = DataIndexRepository(session)
    known = indexes.having(paths, filters.project_id)
    lacking, filling = indexes.would_help(filters.where)
    if not (lacking or filling) or not FieldRepository(session).are_more_than(filters.project_id, _LOOKED_AT):
        return known, ()
    of_filling = (f"the index on {path} is still being filled, and isn't used until then" for path in filling)
    return known, (*(_would_help(path) for path in lacking[:_MOST_WARNINGS]), *of_filling)


def _would_help(path: str) -> str:
    return (
        f"no index finds {path}, so each of more than {_LOOKED_AT:,} facts is read; name it in database.data_indexes, "
        "and run agent-storage db upgrade"
    )


def _paths_of(where: Condition | None) -> list[_InFact]:
    found = dict.fromkeys(leaf.where for leaf in leaves(where)) if where is not None else {}
    return [path for path in found if not isinstance(path, Field)]


def _labels_of(filters: Filters) -> list[_Label]:
    found = [
        *(_Label("type", each) for each in filters.extraction_types),
        *(_Label("group", each) for each in filters.source_groups),
        *(_Label("source", each) for each in filters.source_uris),
    ]
    for leaf in leaves(filters.where) if filters.where is not None else ():
        if isinstance(leaf.where, Field) and leaf.where.name in LABELS and isinstance(leaf, Compare | In):
            found += [_Label(leaf.where.name, each) for each in _compared(leaf) if isinstance(each, str)]
    return list(dict.fromkeys(found))


def _compared(leaf: Leaf) -> tuple[object, ...]:
    """The values that a leaf compares with."""
    match leaf:
        case In():
            return leaf.values
        case Compare() | Contains():
            return (leaf.value,)
        case Starts():
            return (leaf.text,)
        case _:
            return ()


def _kind_asked(leaf: Leaf) -> str | None:
    """The one kind of all the values that a leaf compares with; a time compares with texts."""
    kinds = {_kind(value) for value in _compared(leaf)}
    return kinds.pop() if len(kinds) == 1 else None


def _kind(value: object) -> str | None:
    if value is None or isinstance(value, bool | dict | list):
        return None
    return "number" if isinstance(value, int | float) else "text"


def _kinds(values: Iterable[object]) -> dict[str, str]:
    """The kinds of the values, each with an example."""
    found = dict[str, str]()
    for value in values:
        kind = _kind(value)
        if kind is not None and kind not in found:
            found[kind] = _shown(value)
    return found


def _shown(value: object) -> str:
    return json.dumps(value[:_SHOWN_CHARS] if isinstance(value, str) else value, ensure_ascii=False)


def _has(fact: ExtractionRow, path: _InFact) -> bool:
    return bool(_values_at(path, [fact]))


def _values_at(path: _InFact, facts: Iterable[ExtractionRow]) -> list[Any]:
    return [
        value
        for fact in facts
        for value in values_at(fact.data if isinstance(path, InData) else fact.metadata, path.keys)
    ]


def _values(label: str, facts: Iterable[ExtractionRow]) -> list[str]:
    """The types, groups or sources of the facts."""
    column = {"type": "extraction_type", "group": "source_group", "source": "source_uri"}[label]
    return list(dict.fromkeys(filter(None, (getattr(fact, column) for fact in facts))))


def _names(facts: Sequence[ExtractionRow]) -> list[str]:
    """The names of all fields, as written in conditions."""
    own = Counter(path for fact in facts for path in fields_of(fact))
    return [*FIELDS, *(write_path(path) for path, _ in own.most_common(_MOST_FIELDS))]


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name[:_SHOWN_CHARS], names, n=1)
    return f"; did you mean {near[0]}?" if near else ""
