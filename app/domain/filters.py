"""The filters on extractions, for the API, the command line, SQL and Qdrant alike."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from app.domain.conditions import Condition
from app.domain.ids import is_id
from app.domain.normal_form import composed
from app.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters that must all hold; an empty one restricts nothing. Texts are put in NFC, as stored.

    ``extraction_ids`` None restricts nothing; the empty tuple matches nothing. The bounds of the
    confidence are inclusive, and an extraction without a confidence passes neither. ``where`` is a
    condition on the data, the metadata and the extraction's own fields. ``run_ids`` are the runs
    that asserted the extraction first or last. ``indexed`` asks whether it has its vector,
    ``set_aside`` whether embedding it was given up; an extraction that waits for its vector is
    neither.
    """

    project_id: UUID | str | None = None
    source_groups: tuple[str, ...] = ()
    extraction_types: tuple[str, ...] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None
    where: Condition | None = None
    extraction_ids: tuple[UUID | str, ...] | None = None
    source_uris: tuple[str, ...] = ()
    run_ids: tuple[UUID | str, ...] = ()
    indexed: bool | None = None
    set_aside: bool | None = None

    @property
    def for_sql(self) -> bool:
        """Whether some of the filters can only be answered by SQL."""
        return any(getattr(self, name) != getattr(ANY, name) for name in _FOR_SQL)

    @property
    def part_for_sql(self) -> "Filters":
        """The filters that only SQL can answer, in the same project."""
        return Filters(self.project_id, **{name: getattr(self, name) for name in _FOR_SQL})

    @property
    def part_for_index(self) -> "Filters":
        """The filters that an index can answer."""
        return replace(self, **{name: getattr(ANY, name) for name in _FOR_SQL})

    def __post_init__(self) -> None:
        """Reject values of the wrong type, which could match nothing, and normalize the texts.

        Raises:
            InvalidInput: a value has the wrong type. The message names the field and what it takes.
        """
        if not isinstance(self.project_id, UUID | str | None):
            raise InvalidInput(f"project_id takes a UUID or a text, not {self.project_id!r:.60}")
        for name in ("source_groups", "extraction_types", "source_uris"):
            _require_texts(name, getattr(self, name))
            object.__setattr__(self, name, tuple(composed(label, name) for label in getattr(self, name)))
        for name in ("min_confidence", "max_confidence"):
            _require_finite(name, getattr(self, name))
        if not isinstance(self.where, Condition | None):
            raise InvalidInput(
                f"where takes a condition, such as parse_where('price >= 100') makes, not {self.where!r:.60}"
            )
        if self.extraction_ids is not None:
            _require_ids("extraction_ids", self.extraction_ids)
        _require_ids("run_ids", self.run_ids)
        for name in ("indexed", "set_aside"):
            if not isinstance(getattr(self, name), bool | None):
                raise InvalidInput(f"{name} takes true or false, not {getattr(self, name)!r:.60}")


_NAMES = tuple(each.name for each in fields(Filters))
_LISTS = ("source_groups", "extraction_types", "source_uris", "extraction_ids", "run_ids")
_FOR_SQL = ("where", "source_uris", "run_ids", "indexed", "set_aside")


def filters_of(given: Filters | Mapping[str, object] | None) -> Filters | None:
    """Make filters of a mapping with fields of :class:`Filters`; None restricts nothing.

    Raises:
        InvalidInput: there is no filter of that name, or its value has the wrong type.
    """
    if given is None or isinstance(given, Filters):
        return given
    if not isinstance(given, Mapping):
        raise InvalidInput(f"filters take a mapping or a Filters, not a {type(given).__name__}")
    for name in given:
        if name not in _NAMES:
            nearest = get_close_matches(str(name), _NAMES, n=1, cutoff=0.0)[0]
            raise InvalidInput(
                f"there is no filter {name!r:.60}; the nearest is {nearest!r}, and all are {', '.join(_NAMES)}"
            )
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name in values.keys() & set(_LISTS):
        values[name] = tuple(_require_list(name, values[name]))
    return Filters(**values)


def _require_texts(name: str, values: object) -> None:
    for value in _require_list(name, values):
        if not isinstance(value, str):
            raise InvalidInput(f"{name} takes texts, not {value!r:.60}")


def _require_ids(name: str, values: object) -> None:
    kind = "a run" if name == "run_ids" else "an extraction"
    for value in _require_list(name, values):
        if not is_id(value):
            raise InvalidInput(f"{value!r:.60} is not the id of {kind}")


def _require_list(name: str, values: object) -> Collection[object]:
    if isinstance(values, str | bytes | UUID):
        raise InvalidInput(f"{name} takes a list, not {values!r:.60}; write [{values!r:.60}]")
    if not isinstance(values, Collection):
        raise InvalidInput(f"{name} takes a list, not {values!r:.60}")
    return values


def _require_finite(name: str, bound: object) -> None:
    if bound is None:
        return
    if isinstance(bound, bool) or not isinstance(bound, int | float) or not math.isfinite(bound):
        raise InvalidInput(f"{name} takes a finite number, not {bound!r:.60}")


ANY = Filters()
"""Every extraction."""
