"""``/v1/projects/{name}/changes``, and the history of an extraction."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from app.api.answers import ExactRoute, answer_items
from app.api.change_streams import ChangeStreams
from app.api.event_streams import wants_events
from app.api.histories import answer_history, read_number
from app.api.keys import caller_of
from app.api.parts import OptionsOf, PartsOf
from app.api.problems import documented
from app.api.routes.extractions import ExtractionIdOf
from app.api.schemas.changes import FeedAnswer, HistoryAnswer
from app.api.schemas.values import PageLimit, ProjectName
from app.domain.cursors import read_place, write_place
from app.domain.documents import change_as_dict
from app.domain.ids import ExtractionId

router = APIRouter(prefix="/v1", tags=["changes"], route_class=ExactRoute)


@router.get(
    "/projects/{name}/changes",
    response_model=FeedAnswer,
    responses={
        200: {
            "description": "A page of changes. With `Accept: text/event-stream`, an event `change` for each, with the change "
            "as its data and the cursor after it as its id.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **documented(404, 410),
    },
)
async def get_changes(  # noqa: PLR0913, PLR0917 - each is a parameter
    request: Request,
    parts: PartsOf,
    options: OptionsOf,
    name: ProjectName,
    after: Annotated[
        str | None, Query(description="The cursor to continue from. Default: the beginning.")
    ] = None,
    limit: PageLimit = 100,
    last_event_id: Annotated[
        str | None,
        Header(description="For a stream: the id of the last event; overrides `after`."),
    ] = None,
) -> Response:
    """Get a project's changes in commit order, without gaps or duplicates.

    A page of large extractions ends early: continue from `cursor` while `more` is true, and later
    for new changes. With `Accept: text/event-stream` the changes are sent as server-sent events,
    about a second after they happen. The limit is 20 streams per caller and 100 in all, including
    those of jobs.
    """
    if not wants_events(request.headers):
        place = None if after is None else read_place(after, "after")
        page = await parts.changes().feed(name, after=place, limit=limit)
        rest = {"cursor": write_place(page.place), "more": not page.is_last, "whole": page.is_whole}
        return await answer_items(map(change_as_dict, page.changes), rest)
    if last_event_id:
        place = read_place(last_event_id, "last-event-id")
    else:
        place = None if after is None else read_place(after, "after")
    streams: ChangeStreams = request.app.state.change_streams
    return await streams.open(name, place, caller_of(request, options.api_keys))


@router.get("/extractions/{extraction_id}/history", response_model=HistoryAnswer, responses=documented(404))
async def get_extraction_history(
    parts: PartsOf, extraction_id: ExtractionIdOf, limit: PageLimit = 100, cursor: str | None = None
) -> Response:
    """Get the changes of an extraction, newest first, even if it was removed."""
    before = None if cursor is None else read_number(cursor)
    history = await parts.changes().of_extraction(ExtractionId(extraction_id), before=before, limit=limit)
    return await answer_history(history)
