"""``/v1/projects/{name}/export``."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.api.answers import ExactRoute
from app.api.bodies import NDJSON
from app.api.event_streams import StreamPlaces
from app.api.filtering import WantedExtractions
from app.api.keys import caller_of
from app.api.parts import OptionsOf, PartsOf
from app.api.problems import documented
from app.api.schemas.values import ProjectName
from app.domain.export import MAX_PAGE_ROWS, ExportFormat, ExportPage
from app.executor import Lane
from app.services.export.formats import Encoder, encoder_of

router = APIRouter(prefix="/v1", tags=["extractions"], route_class=ExactRoute)

NEXT_CURSOR = "x-next-cursor"
WARNINGS = "x-warnings"
_WARNING_CHARS = 500


class StreamedFormat(StrEnum):
    """The formats of an export over HTTP."""

    JSONL = "jsonl"
    CSV = "csv"


_MEDIA_TYPES = {StreamedFormat.JSONL: NDJSON, StreamedFormat.CSV: "text/csv"}


class ExportStream(StreamingResponse):
    """A streamed export that releases its stream place at the end."""

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
            "description": "The extractions, sorted by id: as JSON lines, which can be posted again, or as CSV.",
            "content": {media_type: {"schema": {"type": "string"}} for media_type in _MEDIA_TYPES.values()},
            "headers": {
                NEXT_CURSOR: {
                    "description": "Of a page: the cursor of the next page; absent on the last page.",
                    "schema": {"type": "string"},
                },
                WARNINGS: {
                    "description": "At the start of an export, if the filters look wrong: a JSON list of warnings, in "
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
        str | None, Query(description="The cursor to continue from. Default: the beginning.")
    ] = None,
    limit: Annotated[
        int | None,
        Query(
            ge=1, le=MAX_PAGE_ROWS, description="Return one page of at most this size. Default: all, streamed."
        ),
    ] = None,
) -> Response:
    """Export a project's extractions that match the filters, sorted by id, with all input fields.

    Without `limit`, all of them are streamed. The answer is complete if HTTP's last chunk arrives;
    an error closes the connection before it. To be able to resume after an error, use pages: with
    `limit` the answer has a length, and `X-Next-Cursor` is the cursor of the next page. A page ends
    early at 8 MiB of JSON.

    Each page (of at most 1,000 extractions in a stream) is read from one snapshot. Other writes may
    happen between pages; an extraction that exists throughout is exported exactly once. CSV
    without `after` begins with a line of column names.
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
    """Make the header for warnings; the body only holds extractions."""
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
