"""``/v1/projects``."""

from fastapi import APIRouter

from app.api.answers import ExactRoute
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas import DeletedAnswer, NewProject, Project, ProjectName

router = APIRouter(prefix="/v1/projects", tags=["projects"], route_class=ExactRoute)


@router.post("", status_code=201, responses=documented(409))
async def create_project(parts: PartsOf, body: NewProject) -> Project:
    """Make an empty project. Handing in extractions makes theirs by itself."""
    return Project.of(await parts.projects().create(body.name))


@router.get("")
async def list_projects(parts: PartsOf) -> list[Project]:
    """Every project with what it holds, by name."""
    return [Project.of(summary) for summary in await parts.projects().list()]


@router.get("/{name}", responses=documented(404))
async def get_project(parts: PartsOf, name: ProjectName) -> Project:
    """One project with what it holds."""
    return Project.of(await parts.projects().get(name))


@router.delete("/{name}", status_code=202, responses=documented(404))
async def delete_project(parts: PartsOf, name: ProjectName) -> DeletedAnswer:
    """Delete a project with its sources and extractions; the jobs delete the vectors."""
    return DeletedAnswer.of(await parts.projects().delete(name))
