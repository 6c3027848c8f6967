"""``/v1/projects/{name}/search``."""

from fastapi import APIRouter, Response

from app.api.answers import ExactRoute, answer_json
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas import Hits, ProjectName, SearchQuery, extraction_of
from app.domain.search import Query

router = APIRouter(prefix="/v1", tags=["search"], route_class=ExactRoute)


@router.post("/projects/{name}/search", response_model=Hits, responses=documented(404))
async def search(parts: PartsOf, name: ProjectName, body: SearchQuery) -> Response:
    """Find a project's extractions by meaning and by filter, best first."""
    found = await parts.search().search(
        Query(
            text=body.query,
            project=name,
            limit=body.limit,
            filters=body.for_service(),
        )
    )
    hits = [{"score": hit.score, "extraction": extraction_of(hit.extraction)} for hit in found]
    return answer_json({"items": hits})
