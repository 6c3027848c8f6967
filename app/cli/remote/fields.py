"""The fields of a service's facts, over its HTTP API."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.cli.remote.connection import Connection
from app.cli.remote.filtering import body_of, params_of
from app.cli.remote.paging import project_path
from app.cli.remote.reading import read_as
from app.domain.conditions import Field
from app.domain.fields import DescribedField, DescribedType, Description, Facet, Facets, FacetValue, Numbers
from app.domain.filters import ANY, Filters
from app.domain.ordering import Order
from app.intake.where_text import write_order


class RemoteFields:
    """See :class:`app.services.fields.FieldService`."""

    def __init__(self, service: Connection) -> None:
        self._service = service

    async def describe(self, project: str) -> Description:
        """The types of a project and their fields."""
        path = f"{project_path(project)}/describe"
        return read_as(path, _description, await self._service.get(path))

    async def count_by(
        self, project: str, by: Sequence[str], filters: Filters = ANY, *, limit: int = 10
    ) -> Facets:
        """Count a project's facts by fields and paths."""
        path = f"{project_path(project)}/facets"
        asked = {**body_of(filters), "by": list(by), "limit": limit}
        return read_as(path, _facets, await self._service.post(path, asked))

    async def warnings(self, project: str, filters: Filters, *, order: Order | None = None) -> tuple[str, ...]:
        """Warnings about suspicious filters and orders, which the API returns with a list."""
        names = Filters(
            where=filters.where,
            extraction_types=filters.extraction_types,
            source_groups=filters.source_groups,
            source_uris=filters.source_uris,
        )
        by = {} if order is None or isinstance(order.by, Field) else {"sort": write_order(order)}
        if names == ANY and not by:
            return ()
        path = f"{project_path(project)}/extractions"
        answer = await self._service.get(path, {**params_of(names), **by, "limit": "1"})
        return read_as(path, lambda answer: tuple(map(str, answer["warnings"])), answer)


def _description(answer: Mapping[str, Any]) -> Description:
    types = [
        DescribedType(**{**each, "fields": [DescribedField(**field) for field in each["fields"]]})
        for each in answer["types"]
    ]
    return Description(int(answer["sampled"]), bool(answer["whole"]), types)


def _facets(answer: Mapping[str, Any]) -> Facets:
    return Facets(int(answer["count"]), [_facet(each) for each in answer["facets"]], tuple(answer["warnings"]))


def _facet(facet: Mapping[str, Any]) -> Facet:
    numbers = facet["numbers"]
    values = [FacetValue(each["value"], int(each["count"])) for each in facet["values"]]
    return Facet(**{**facet, "values": values, "numbers": None if numbers is None else Numbers(**numbers)})
