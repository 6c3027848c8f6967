"""Translate filters to each engine's form."""

from typing import TYPE_CHECKING, Any

from app.domain.filters import Filters
from app.errors import InvalidInput

if TYPE_CHECKING:
    import qdrant_edge
    from qdrant_client import grpc


def edge_filter(filters: Filters | None) -> "qdrant_edge.Filter | None":
    """The filter in the embedded engine's classes; None if there is nothing to filter by."""
    if filters is None:
        return None
    import qdrant_edge as edge  # noqa: PLC0415 - only the embedded mode needs it

    must: list[Any] = [
        # MatchAny is half as fast as MatchValue, even with one value.
        edge.FieldCondition(field, match=edge.MatchAny(values) if values[1:] else edge.MatchValue(values[0]))
        for field, values in _keywords(filters).items()
    ]
    if bounds := _confidence_range(filters):
        must.append(edge.FieldCondition("confidence", range=edge.RangeFloat(**bounds)))
    if filters.extraction_ids is not None:
        must.append(edge.HasIdCondition(set(map(str, filters.extraction_ids))))
    return edge.Filter(must=must) if must else None


def rest_filter(filters: Filters | None) -> dict[str, Any] | None:
    """The filter as a server's JSON; None if there is nothing to filter by."""
    if filters is None:
        return None
    must: list[dict[str, Any]] = [
        {"key": field, "match": {"any": values}} for field, values in _keywords(filters).items()
    ]
    if bounds := _confidence_range(filters):
        must.append({"key": "confidence", "range": bounds})
    if filters.extraction_ids is not None:
        must.append({"has_id": list(map(str, filters.extraction_ids))})
    return {"must": must} if must else None


def grpc_filter(filters: Filters | None) -> "grpc.Filter | None":
    """The filter as a gRPC message; None if there is nothing to filter by."""
    if filters is None:
        return None
    from qdrant_client import grpc  # noqa: PLC0415 - slow to import; the embedded mode doesn't

    def field(key: str, **condition: Any) -> grpc.Condition:  # noqa: ANN401 - a field of the message
        return grpc.Condition(field=grpc.FieldCondition(key=key, **condition))

    must = [
        field(key, match=grpc.Match(keywords=grpc.RepeatedStrings(strings=values)))
        for key, values in _keywords(filters).items()
    ]
    if bounds := _confidence_range(filters):
        must.append(field("confidence", range=grpc.Range(**bounds)))
    if filters.extraction_ids is not None:
        ids = [grpc.PointId(uuid=str(id_)) for id_ in filters.extraction_ids]
        must.append(grpc.Condition(has_id=grpc.HasIdCondition(has_id=ids)))
    return grpc.Filter(must=must) if must else None


def _keywords(filters: Filters) -> dict[str, list[str]]:
    """The allowed values by payload field."""
    if filters.for_sql:
        raise InvalidInput(
            "Qdrant can't filter on `where`, `source_uris`, `run_ids`, `indexed` or `set_aside`: its payloads "
            "don't have these fields. A filter on them is for SQL"
        )
    fields = {
        "project_id": [] if filters.project_id is None else [str(filters.project_id)],
        "source_group": list(filters.source_groups),
        "extraction_type": list(filters.extraction_types),
    }
    return {field: values for field, values in fields.items() if values}


def _confidence_range(filters: Filters) -> dict[str, float]:
    """The given bounds, by their name in both engines."""
    bounds = {"gte": filters.min_confidence, "lte": filters.max_confidence}
    return {name: bound for name, bound in bounds.items() if bound is not None}
