"""``/v1/projects/{name}/export``."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.answers import ExactRoute
from app.api.event_streams import StreamPlaces
from app.api.filtering import WantedExtractions
from app.api.middleware import NDJSON, caller_of
from app.api.parts import OptionsOf, PartsOf
from app.api.problems import documented
from app.api.schemas import ProjectName
from app.domain.export import MAX_PAGE_ROWS, ExportFormat, ExportPage
from app.executor import Lane
from app.services.export.formats import Encoder, encoder_of

router = APIRouter(prefix="/v1", tags=["extractions"], route_class=ExactRoute)

NEXT_CURSOR = "x-next-cursor"
WARNINGS = "x-warnings"
_WARNING_CHARS = 500


class StreamedFormat(StrEnum):
    """How extractions are written."""

    JSONL = "jsonl"
    CSV = "csv"


_MEDIA_TYPES = {StreamedFormat.JSONL: NDJSON, StreamedFormat.CSV: "text/csv"}


class ExportStream(StreamingResponse):
    """An export, with its place given back at the end."""

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        release: Callable[[], None],
    ) -> None:
        self._release = release
        super().__init__(pieces, headers=headers, media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`StreamingResponse`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


@router.get(
    "/projects/{name}/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The extractions, by id: as JSON lines, which can be handed in again, or as CSV.",
            "content": {media_type: {"schema": {"type": "string"}} for media_type in _MEDIA_TYPES.values()},
            "headers": {
                NEXT_CURSOR: {
                    "description": "Of a page: the cursor to go on after; absent once nothing follows.",
                    "schema": {"type": "string"},
                },
                WARNINGS: {
                    "description": "Where it begins, and something is odd about the filters: a JSON list of what, in "
                    "ASCII, each cut after 500 characters.",
                    "schema": {"type": "string"},
                },
            },
        },
        **documented(404),
    },
)
async def export(  # noqa: PLR0913, PLR0917 - each is a parameter
    request: Request,
    parts: PartsOf,
    options: OptionsOf,
    name: ProjectName,
    wanted: WantedExtractions,
    form: Annotated[StreamedFormat, Query(alias="format")] = StreamedFormat.JSONL,
    after: Annotated[
        str | None, Query(description="The cursor to go on from; without it, the beginning.")
    ] = None,
    limit: Annotated[
        int | None,
        Query(ge=1, le=MAX_PAGE_ROWS, description="One page of so many at most; without it, all there are."),
    ] = None,
) -> Response:
    """A project's extractions that pass the filters, by id, with all that was handed in of them.

    Without `limit` they are streamed, however many there are. The answer is whole if it ends as
    HTTP ends it, with its last chunk; a fault breaks the connection off. To be able to go on after
    one, take pages: with `limit` the answer has a length, and `X-Next-Cursor` leads to the next. A
    page ends early at 8 MiB of JSON.

    Each page, of at most 1,000 in a stream, is read from one consistent state. Between two of them
    others may write: what is there all the time comes exactly once. CSV has a first line with the
    names of its columns where it begins without `after`.
    """
    encoder = encoder_of(ExportFormat(form.value), goes_on=after is not None)
    lane = parts.files_lane()
    headers = {} if after is not None else _warning(await parts.fields().warnings(name, wanted))
    if limit is not None:
        page = await parts.export().page(name, wanted, after=after, limit=limit)
        body = await lane.run(_whole, encoder, page)
        headers |= {} if page.cursor is None else {NEXT_CURSOR: page.cursor}
        return Response(body, headers=headers, media_type=_MEDIA_TYPES[form])
    pages = parts.export().pages(name, wanted, after=after)
    first = await anext(pages)
    places: StreamPlaces = request.app.state.stream_places
    caller = caller_of(request, options.api_keys)
    places.take(caller)
    pieces = _pieces(first, pages, encoder, lane)
    return ExportStream(pieces, _MEDIA_TYPES[form], headers, lambda: places.release(caller))


def _warning(sentences: Sequence[str]) -> dict[str, str]:
    """In a header, because the body holds extractions alone."""
    return {WARNINGS: json.dumps([sentence[:_WARNING_CHARS] for sentence in sentences])} if sentences else {}


def _whole(encoder: Encoder, page: ExportPage) -> bytes:
    return encoder.page(page.rows) + encoder.end()


async def _pieces(
    first: ExportPage, following: AsyncIterator[ExportPage], encoder: Encoder, lane: Lane
) -> AsyncIterator[bytes]:
    yield await lane.run(encoder.page, first.rows, exempt_from_max_waiting=True)
    async for page in following:
        yield await lane.run(encoder.page, page.rows, exempt_from_max_waiting=True)
    yield await lane.run(encoder.end, exempt_from_max_waiting=True)
