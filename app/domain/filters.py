"""Which extractions are meant, whoever asks: the API, the command line, SQL and Qdrant."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from app.domain.ids import is_extraction_id
from app.errors import InvalidInput

Path = str | tuple[str, ...]
"""Where a value stands in ``data``: the keys that lead to it, joined by dots or one by one."""

Scalar = str | int | float | bool | None
Where = Mapping[str, Scalar] | Mapping[tuple[str, ...], Scalar] | Mapping[Path, Scalar]


@dataclass(frozen=True, slots=True)
class Filters:
    """All that is given must hold; what is empty restricts nothing.

    ``extraction_ids`` None restricts nothing; the empty tuple matches nothing. The bounds of the confidence are
    inclusive, and an extraction without one passes neither. ``where`` maps a path in ``data`` to the value that must
    stand there; SQL alone can answer it.
    """

    project_id: UUID | str | None = None
    source_groups: tuple[str, ...] = ()
    extraction_types: tuple[str, ...] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None
    where: Where = field(default_factory=dict)
    extraction_ids: tuple[UUID | str, ...] | None = None

    def __post_init__(self) -> None:
        for bound in (self.min_confidence, self.max_confidence):
            if bound is not None and not math.isfinite(bound):
                raise InvalidInput(f"a confidence bound must be a finite number, not {bound}")
        for extraction_id in self.extraction_ids or ():
            if not is_extraction_id(extraction_id):
                raise InvalidInput(f"{extraction_id!r} is not the id of an extraction")


ANY = Filters()
"""Every extraction."""
