"""``/v1/projects/{name}/facets`` and ``/v1/projects/{name}/describe``: the fields of facts."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api.answers import ExactRoute, answer_json
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas.fields import Described, Facets, FacetsOf
from app.api.schemas.values import ProjectName

router = APIRouter(prefix="/v1/projects/{name}", tags=["fields"], route_class=ExactRoute)


@router.post("/facets", response_model=Facets, responses=documented(404))
async def count_by(parts: PartsOf, name: ProjectName, body: FacetsOf) -> Response:
    """Count a project's facts that match the filters, by the values of fields and paths."""
    found = await parts.fields().count_by(name, body.by, body.for_service(), limit=body.limit)
    return answer_json(asdict(found))


@router.get("/describe", response_model=Described, responses=documented(404))
async def describe(
    parts: PartsOf,
    name: ProjectName,
    sample: Annotated[int, Query(ge=1, le=10_000, description="The maximum number of facts to read.")] = 500,
) -> Response:
    """Describe a project's types and the fields of their data, from a sample of its facts."""
    return answer_json(asdict(await parts.fields().describe(name, sampled=sample)))
