"""``/v1/search`` and ``/v1/projects/{name}/search``."""

from fastapi import APIRouter, Response

from app.api.answers import ExactRoute, answer_json
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas.search import Hits, SearchQuery
from app.api.schemas.values import ProjectName
from app.domain.documents import hit_as_dict
from app.domain.search import Query
from app.services.search import SearchService

router = APIRouter(prefix="/v1", tags=["search"], route_class=ExactRoute)


@router.post("/projects/{name}/search", response_model=Hits, responses=documented(404))
async def search(parts: PartsOf, name: ProjectName, body: SearchQuery) -> Response:
    """Find a project's extractions by meaning, by words and by filter, best first."""
    return await _answer(parts.search(), body.as_query(name))


@router.post("/search", response_model=Hits)
async def search_all(parts: PartsOf, body: SearchQuery) -> Response:
    """Find extractions of all projects. A search by words takes longer with more projects."""
    return await _answer(parts.search(), body.as_query(None))


async def _answer(service: SearchService, query: Query) -> Response:
    found = await service.search(query)
    return answer_json(
        {
            "items": [hit_as_dict(hit) for hit in found],
            "more": found.more,
            "degraded": found.degraded,
            "warnings": found.warnings,
        }
    )
