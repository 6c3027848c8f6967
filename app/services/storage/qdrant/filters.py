"""What a search may be narrowed by, and how each engine spells it."""

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import InvalidInput

if TYPE_CHECKING:
    import qdrant_edge
    from qdrant_client import models

POINT_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class SearchFilters:
    """All that is given must hold. An empty tuple of groups or types is no restriction.

    ``extraction_ids`` None is no restriction; the empty tuple matches nothing. The bounds of the confidence
    are inclusive, and a point without a confidence passes neither.
    """

    project_id: str | None = None
    source_groups: tuple[str, ...] = ()
    extraction_types: tuple[str, ...] = ()
    min_confidence: float | None = None
    max_confidence: float | None = None
    extraction_ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for bound in (self.min_confidence, self.max_confidence):
            if bound is not None and not math.isfinite(bound):
                raise InvalidInput(f"a confidence bound must be a finite number, not {bound}")
        for extraction_id in self.extraction_ids or ():
            if not POINT_ID.fullmatch(extraction_id):
                raise InvalidInput(f"{extraction_id!r} is not the id of an extraction")

    def keywords(self) -> dict[str, list[str]]:
        """The payload fields that must hold one of some values."""
        fields = {
            "project_id": [] if self.project_id is None else [self.project_id],
            "source_group": list(self.source_groups),
            "extraction_type": list(self.extraction_types),
        }
        return {field: values for field, values in fields.items() if values}

    def confidence_range(self) -> dict[str, float]:
        """The bounds that are given, by their name in both engines."""
        bounds = {"gte": self.min_confidence, "lte": self.max_confidence}
        return {name: bound for name, bound in bounds.items() if bound is not None}


def edge_filter(filters: SearchFilters | None) -> "qdrant_edge.Filter | None":
    """In the embedded engine's classes; None when there is nothing to filter by."""
    if filters is None:
        return None
    import qdrant_edge as edge  # noqa: PLC0415 - only the embedded mode needs it

    must: list[Any] = [
        # Many values match half as fast, even if there is one.
        edge.FieldCondition(field, match=edge.MatchAny(values) if values[1:] else edge.MatchValue(values[0]))
        for field, values in filters.keywords().items()
    ]
    if bounds := filters.confidence_range():
        must.append(edge.FieldCondition("confidence", range=edge.RangeFloat(**bounds)))
    if filters.extraction_ids is not None:
        must.append(edge.HasIdCondition(set(filters.extraction_ids)))
    return edge.Filter(must=must) if must else None


def server_filter(filters: SearchFilters | None) -> "models.Filter | None":
    """In ``qdrant_client``'s models; None when there is nothing to filter by."""
    if filters is None:
        return None
    from qdrant_client import models  # noqa: PLC0415 - slow to import, and the embedded mode never does

    must: list[Any] = [
        models.FieldCondition(key=field, match=models.MatchAny(any=values))
        for field, values in filters.keywords().items()
    ]
    if bounds := filters.confidence_range():
        must.append(models.FieldCondition(key="confidence", range=models.Range(**bounds)))
    if filters.extraction_ids is not None:
        must.append(models.HasIdCondition(has_id=list(filters.extraction_ids)))
    return models.Filter(must=must) if must else None
