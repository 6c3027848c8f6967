"""Find the ways by which data indexes lead to the facts that may satisfy a condition."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.domain.conditions import And, Compare, Condition, Field, Not, Or
from app.domain.value_keys import Lookup, between, lookups_of, united
from app.intake.where_text import write_path

_MOST_SPANS = 50

Way = Mapping[int, Lookup]
"""A way to find all facts that may satisfy a condition: lookups by the numbers of their indexes."""


def ways_by(condition: Condition, indexes: Mapping[str, int]) -> Iterator[Way]:
    """All ways by these indexes: each part of an AND is a way; the parts of an OR form one."""
    match condition:
        case And(parts):
            yield from _ways_between(parts, indexes)
            for part in parts:
                yield from ways_by(part, indexes)
        case Or(parts):
            found = [next(ways_by(part, indexes), None) for part in parts]
            together = _together(way for way in found if way is not None)
            if all(found) and sum(len(lookup.spans) for lookup in together.values()) <= _MOST_SPANS:
                yield together
        case Not():
            pass
        case leaf:
            number = None if isinstance(leaf.where, Field) else indexes.get(write_path(leaf.where))
            if number is not None:
                yield from ({number: lookup} for lookup in lookups_of(leaf))


def _ways_between(parts: Sequence[Condition], indexes: Mapping[str, int]) -> Iterator[Way]:
    """The ways where several parts together bound the values at one path."""
    bounds: dict[int, list[Lookup]] = {}
    for part in parts:
        if isinstance(part, Compare) and not isinstance(part.where, Field):
            number = indexes.get(write_path(part.where))
            if number is not None:
                bounds.setdefault(number, []).extend(lookups_of(part))
    for number, lookups in bounds.items():
        if len(lookups) > 1 and (found := between(lookups)) is not None:
            yield {number: found}


def _together(ways: Iterable[Way]) -> Way:
    keys: dict[int, list[Lookup]] = {}
    for way in ways:
        for number, lookup in way.items():
            keys.setdefault(number, []).append(lookup)
    return {number: united(lookups) for number, lookups in keys.items()}
