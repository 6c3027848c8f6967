"""``/v1/projects/{name}/runs``."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response

from app.api.answers import ExactRoute
from app.api.cursors import read_moment_and_id, write_moment_and_id
from app.api.histories import answer_history, read_number
from app.api.parts import PartsOf
from app.api.problems import documented
from app.api.schemas.changes import HistoryAnswer
from app.api.schemas.runs import NewRun, Run, Runs, UndoneAnswer
from app.api.schemas.values import Label, PageLimit, ProjectName
from app.domain.ids import RunId

router = APIRouter(prefix="/v1/projects/{name}/runs", tags=["runs"], route_class=ExactRoute)

RunOf = Annotated[Label, Path(description="The run's id, or its name for the newest run of that name.")]
RunIdOf = Annotated[UUID, Path(description="The run's id.")]


@router.post("", status_code=201)
async def begin_run(parts: PartsOf, name: ProjectName, body: NewRun) -> Run:
    """Begin a run, under which extractions can be posted until it ends.

    The project is created if necessary.
    """
    return Run.of(await parts.runs().begin(name, body.name, body.metadata))


@router.get("", responses=documented(404))
async def list_runs(
    parts: PartsOf, name: ProjectName, limit: PageLimit = 100, cursor: str | None = None
) -> Runs:
    """List a project's runs, newest first, in pages."""
    after = None if cursor is None else _place(cursor)
    rows = await parts.runs().list(name, after=after, limit=limit)
    last = rows[-1] if len(rows) == limit else None
    following = None if last is None else write_moment_and_id(last.begun_at, last.id)
    return Runs(items=[Run.of(row) for row in rows], next_cursor=following)


@router.get("/{run}", responses=documented(404))
async def get_run(parts: PartsOf, name: ProjectName, run: RunOf) -> Run:
    """Get one run with the counts of its changes."""
    return Run.of(await parts.runs().get(name, run))


@router.post("/{run}/end", responses=documented(404))
async def end_run(parts: PartsOf, name: ProjectName, run: RunIdOf) -> Run:
    """End a run, so that it takes no more extractions; a no-op if it has ended."""
    return Run.of(await parts.runs().end(name, RunId(run)))


@router.get("/{run}/changes", response_model=HistoryAnswer, responses=documented(404))
async def get_run_changes(
    parts: PartsOf, name: ProjectName, run: RunOf, limit: PageLimit = 100, cursor: str | None = None
) -> Response:
    """Get the changes of a run, newest first.

    The changes of one source in one transaction stay together, so a page may hold more than
    `limit`.
    """
    before = None if cursor is None else read_number(cursor)
    run_id = (await parts.runs().get(name, run)).id
    return await answer_history(await parts.changes().of_run(name, run_id, before=before, limit=limit))


@router.post("/{run}/undo", responses=documented(404, 410))
async def undo_run(parts: PartsOf, name: ProjectName, run: RunOf) -> UndoneAnswer:
    """Undo the changes of a run; jobs update the index.

    Facts that have changed again since are left as they are, and listed. The undo is a run itself,
    and can be undone. Undoing a run again changes nothing.
    """
    return UndoneAnswer.of(await parts.runs().undo(name, run))


def _place(cursor: str) -> tuple[datetime, RunId]:
    begun_at, run_id = read_moment_and_id(cursor)
    return begun_at, RunId(run_id)
