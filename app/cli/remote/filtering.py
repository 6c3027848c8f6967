"""Converts filters into the parameters of the HTTP API."""

from typing import Any

from app.domain.filters import Filters
from app.errors import InvalidInput
from app.intake.where_json import write_where_json
from app.intake.where_text import write_where


def body_of(filters: Filters) -> dict[str, Any]:
    """The filters as members of a request body; the project is part of the path.

    Raises:
        InvalidInput: the filters name ids.
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
    """The given filters as query parameters. Raises the errors of :func:`body_of`."""
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
        raise InvalidInput("over HTTP, extractions are chosen by ids or by filters, not by both; leave one out")
