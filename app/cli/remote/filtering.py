"""Which extractions are meant, as the HTTP API takes it."""

from typing import Any

from app.domain.filters import Filters
from app.errors import InvalidInput
from app.intake.where_json import write_where_json
from app.intake.where_text import write_where


def body_of(filters: Filters) -> dict[str, Any]:
    """As a body has it; the project stands in the path.

    Raises:
        InvalidInput: they name ids, too.
    """
    _refuse_ids(filters)
    return {
        "source_groups": filters.source_groups,
        "extraction_types": filters.extraction_types,
        "min_confidence": filters.min_confidence,
        "max_confidence": filters.max_confidence,
        "source_uris": filters.source_uris,
        "run_ids": filters.run_ids,
        "where": None if filters.where is None else write_where_json(filters.where),
        "indexed": filters.indexed,
        "set_aside": filters.set_aside,
    }


def params_of(filters: Filters) -> dict[str, Any]:
    """As query parameters; of one that isn't given there is none. Raises what :func:`body_of` raises."""
    _refuse_ids(filters)
    params = {
        "source_groups": filters.source_groups,
        "extraction_types": filters.extraction_types,
        "source_uris": filters.source_uris,
        "run_ids": tuple(map(str, filters.run_ids)),
        "min_confidence": filters.min_confidence,
        "max_confidence": filters.max_confidence,
        "where": None if filters.where is None else write_where(filters.where),
        "indexed": filters.indexed,
        "set_aside": filters.set_aside,
    }
    return {name: value for name, value in params.items() if value not in {None, ()}}


def _refuse_ids(filters: Filters) -> None:
    if filters.extraction_ids is not None:
        raise InvalidInput("over HTTP, extractions are chosen by their ids or by filters, not by both")
