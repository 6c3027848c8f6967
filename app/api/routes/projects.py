"""``/v1/projects``."""

from fastapi import APIRouter, Response

from app.api.answers import ExactRoute
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas.extractions import DeletedAnswer
from app.api.schemas.projects import NewProject, Project, Projects
from app.api.schemas.values import PageLimit, ProjectName
from app.api.waiting import WaitOf, answer_deleted, may_wait
from app.domain.cursors import no_cursor, read_cursor, write_cursor
from app.domain.ids import project_id_of
from app.errors import InvalidField

router = APIRouter(prefix="/v1/projects", tags=["projects"], route_class=ExactRoute)


@router.post("", status_code=201, responses=documented(409))
async def create_project(parts: PartsOf, body: NewProject) -> Project:
    """Create an empty project. Posting extractions creates their project automatically."""
    return Project.of(await parts.projects().create(body.name))


@router.get("")
async def list_projects(parts: PartsOf, limit: PageLimit = 100, cursor: str | None = None) -> Projects:
    """List the projects with their counts, sorted by name, in pages."""
    after = None if cursor is None else _place(cursor)
    found = await parts.projects().list(after=after, limit=limit)
    following = write_cursor(found[-1].name) if len(found) == limit else None
    return Projects(items=[Project.of(summary) for summary in found], next_cursor=following)


@router.get("/{name}", responses=documented(404))
async def get_project(parts: PartsOf, name: ProjectName) -> Project:
    """Get one project with its counts."""
    return Project.of(await parts.projects().get(name))


@router.delete(
    "/{name}",
    status_code=202,
    response_model=DeletedAnswer,
    responses=documented(404) | may_wait(DeletedAnswer),
)
async def delete_project(parts: PartsOf, name: ProjectName, wait: WaitOf) -> Response:
    """Delete a project with its sources and extractions; jobs delete the vectors."""
    return await answer_deleted(await parts.projects().delete(name), wait)


def _place(cursor: str) -> str:
    [name] = read_cursor(cursor, 1)
    try:
        project_id_of(name)  # a NUL would make PostgreSQL fail
    except InvalidField:
        raise no_cursor() from None
    return name
