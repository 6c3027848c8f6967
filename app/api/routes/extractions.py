"""``/v1/projects/{name}/extractions`` and ``/v1/extractions``."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.api.answers import ExactRoute, answer_json, no_cursor, read_cursor, write_cursor
from app.api.ingest import Intake, checked_key
from app.api.middleware import NDJSON
from app.api.parts import OptionsOf, PartsOf
from app.api.problems import documented
from app.api.schemas import (
    Accepted,
    Condition,
    Confidence,
    DeletedAnswer,
    Deletion,
    Extraction,
    Extractions,
    Labels,
    PageLimit,
    ProjectName,
    extraction_of,
)
from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.domain.items import MAX_LABEL_CHARS, MAX_URI_CHARS
from app.intake.conditions import with_conditions

router = APIRouter(prefix="/v1", tags=["extractions"], route_class=ExactRoute)

ExtractionIdOf = Annotated[UUID, Path(description="The extraction's id.")]

_ITEM = {
    "type": "object",
    "required": ["source_uri", "extraction_type", "data"],
    "additionalProperties": False,
    "properties": {
        "source_uri": {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_URI_CHARS,
            "description": "Texts are put in Unicode's composed form (NFC), and counted in it.",
        },
        "source_group": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_LABEL_CHARS},
        "extraction_type": {"type": "string", "minLength": 1, "maxLength": MAX_LABEL_CHARS},
        "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "data": {"type": "object", "description": "Any JSON with a text to embed in it."},
    },
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["extractions"],
                    "additionalProperties": False,
                    "properties": {"extractions": {"type": "array", "minItems": 1, "items": _ITEM}},
                }
            },
            NDJSON: {"schema": {"type": "string", "description": "An extraction a line, as many as you like."}},
        },
    }
}


@router.post(
    "/projects/{name}/extractions",
    status_code=202,
    response_model=Accepted,
    responses=documented(413),
    openapi_extra=_BODY,
)
async def hand_in(
    request: Request,
    parts: PartsOf,
    options: OptionsOf,
    name: ProjectName,
    idempotency_key: Annotated[
        str | None, Header(description="The same request under the same key gets the same answer, for a day.")
    ] = None,
) -> Response:
    """Store extractions, each once, and queue their indexing; the project is made if need be.

    A JSON body is stored whole or not at all. NDJSON is stored as it comes, a batch at a time: when a line is bad,
    those before it are stored, and the problem says how many. Sending the same again stores nothing twice.
    """
    return await Intake(parts, options, name, checked_key(idempotency_key, options.api_keys)).take(request)


@router.get("/projects/{name}/extractions", response_model=Extractions, responses=documented(404))
async def list_extractions(  # noqa: PLR0913, PLR0917 - each is a parameter
    parts: PartsOf,
    name: ProjectName,
    type_: Annotated[Labels, Query(alias="type", description="Repeatable.")] = [],  # noqa: B006 - FastAPI copies it
    group: Annotated[Labels, Query(description="Repeatable.")] = [],  # noqa: B006 - likewise
    min_confidence: Confidence | None = None,
    max_confidence: Confidence | None = None,
    where: Annotated[
        list[Condition],
        Query(
            max_length=100,
            description="PATH=VALUE: what must stand there in `data`. Repeatable; all must hold.",
        ),
    ] = [],  # noqa: B006 - likewise
    limit: PageLimit = 100,
    cursor: str | None = None,
) -> Response:
    """A project's extractions that pass the filters, by id, page by page."""
    filters = Filters(
        source_groups=tuple(group),
        extraction_types=tuple(type_),
        min_confidence=min_confidence,
        max_confidence=max_confidence,
    )
    after = None if cursor is None else _place(cursor)
    rows = await parts.extractions().list(name, with_conditions(filters, where), after=after, limit=limit)
    following = write_cursor(str(rows[-1].id)) if len(rows) == limit else None
    return answer_json({"items": [extraction_of(row) for row in rows], "next_cursor": following})


@router.post("/projects/{name}/extractions/delete", status_code=202, responses=documented(404))
async def delete_extractions(parts: PartsOf, name: ProjectName, body: Deletion) -> DeletedAnswer:
    """Delete a project's extractions by ids or by filter; the jobs delete their vectors."""
    if body.filters is not None:
        deleted = await parts.extractions().delete_matching(name, body.filters.for_service())
    else:
        ids = [ExtractionId(each) for each in body.ids or ()]
        deleted = await parts.extractions().delete_batch(name, ids)
    return DeletedAnswer.of(deleted)


@router.get("/extractions/{extraction_id}", response_model=Extraction, responses=documented(404))
async def get_extraction(parts: PartsOf, extraction_id: ExtractionIdOf) -> Response:
    """One extraction."""
    return answer_json(extraction_of(await parts.extractions().get(ExtractionId(extraction_id))))


@router.delete("/extractions/{extraction_id}", status_code=202, responses=documented(404))
async def delete_extraction(parts: PartsOf, extraction_id: ExtractionIdOf) -> DeletedAnswer:
    """Delete one extraction; the job deletes its vector."""
    return DeletedAnswer.of(await parts.extractions().delete(ExtractionId(extraction_id)))


def _place(cursor: str) -> ExtractionId:
    [text] = read_cursor(cursor, 1)
    try:
        return ExtractionId(UUID(text))
    except ValueError:
        raise no_cursor() from None
