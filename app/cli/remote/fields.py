"""The fields of a service's facts, over its HTTP API."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.cli.remote.connection import Connection
from app.cli.remote.filtering import body_of, params_of
from app.cli.remote.paging import project_path
from app.cli.remote.reading import read_as
from app.domain.fields import DescribedField, DescribedType, Description, Facet, Facets, FacetValue, Numbers
from app.domain.filters import ANY, Filters


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

    async def warnings(self, project: str, filters: Filters) -> tuple[str, ...]:
        """Warnings about suspicious filters, which the API returns with a filtered list."""
        if filters.where is None:
            return ()
        path = f"{project_path(project)}/extractions"
        answer = await self._service.get(path, {**params_of(Filters(where=filters.where)), "limit": "1"})
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
