"""``/v1/projects/{name}/sources``."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from app.api.answers import ExactRoute
from app.api.cursors import read_id
from app.api.histories import answer_history, read_number
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas.changes import HistoryAnswer
from app.api.schemas.extractions import DeletedAnswer
from app.api.schemas.sources import PrunedSources, Sources, SourceShown
from app.api.schemas.values import Labels, PageLimit, ProjectName, UriPrefix
from app.api.waiting import WaitOf, answer_deleted, may_wait
from app.domain.cursors import write_cursor
from app.domain.ids import SourceId
from app.domain.sources import SourceFilters

router = APIRouter(prefix="/v1/projects/{name}/sources", tags=["sources"], route_class=ExactRoute)

SourceIdOf = Annotated[UUID, Path(description="The source's id.")]


@router.get("", responses=documented(404))
async def list_sources(  # noqa: PLR0913, PLR0917 - each is a parameter
    parts: PartsOf,
    name: ProjectName,
    source_groups: Annotated[Labels, Query(description="Repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    uri_prefix: UriPrefix | None = None,
    gone: Annotated[
        bool | None, Query(description="True: only those without extractions; false: only those with some.")
    ] = None,
    limit: PageLimit = 100,
    cursor: str | None = None,
) -> Sources:
    """List a project's sources that match the filters, sorted by id, in pages."""
    filters = SourceFilters(tuple(source_groups), uri_prefix, gone)
    after = None if cursor is None else SourceId(read_id(cursor))
    rows = await parts.sources().list(name, filters, after=after, limit=limit)
    following = write_cursor(str(rows[-1].id)) if len(rows) == limit else None
    return Sources(items=[SourceShown.of(row) for row in rows], next_cursor=following)


@router.post("/prune", responses=documented(404))
async def prune_sources(parts: PartsOf, name: ProjectName) -> PrunedSources:
    """Delete a project's sources that have no extractions. Their history stays."""
    return PrunedSources(pruned=await parts.sources().prune(name))


@router.get("/{source_id}", responses=documented(404))
async def get_source(parts: PartsOf, name: ProjectName, source_id: SourceIdOf) -> SourceShown:
    """Get one source."""
    return SourceShown.of(await parts.sources().get(name, SourceId(source_id)))


@router.delete(
    "/{source_id}",
    status_code=202,
    response_model=DeletedAnswer,
    responses=documented(404) | may_wait(DeletedAnswer),
)
async def delete_source(parts: PartsOf, name: ProjectName, source_id: SourceIdOf, wait: WaitOf) -> Response:
    """Delete a source with its extractions; jobs delete their vectors. Its history stays."""
    return await answer_deleted(await parts.sources().delete(name, SourceId(source_id)), wait)


@router.get("/{source_id}/history", response_model=HistoryAnswer, responses=documented(404))
async def get_source_history(
    parts: PartsOf,
    name: ProjectName,
    source_id: SourceIdOf,
    limit: PageLimit = 100,
    cursor: str | None = None,
) -> Response:
    """Get the changes of a source and its extractions, newest first, even if it was deleted.

    The changes of one transaction stay together, so a page may hold more than `limit`.
    """
    before = None if cursor is None else read_number(cursor)
    history = await parts.changes().of_source(name, SourceId(source_id), before=before, limit=limit)
    return await answer_history(history)
