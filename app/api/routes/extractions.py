"""``/v1/projects/{name}/extractions`` and ``/v1/extractions``."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.api.answers import ExactRoute, answer_items, answer_json
from app.api.bodies import NDJSON
from app.api.cursors import read_id_in, read_place_in
from app.api.filtering import WantedExtractions
from app.api.ingest import Intake, checked_key
from app.api.parts import OptionsOf, PartsOf
from app.api.problems import documented
from app.api.replace import Replacement
from app.api.request_runs import RequestRun
from app.api.schemas.extractions import (
    Accepted,
    Count,
    DeletedAnswer,
    Deletion,
    Extraction,
    Extractions,
    Replaced,
    Retrial,
    RetriedAnswer,
)
from app.api.schemas.values import Label, PageLimit, ProjectName
from app.api.waiting import WaitOf, answer_deleted, may_wait
from app.domain.cursors import write_cursor
from app.domain.documents import deleted_as_dict, extraction_as_dict
from app.domain.filters import ANY, Filters
from app.domain.ids import ExtractionId
from app.domain.items import MAX_LABEL_CHARS, MAX_METADATA_BYTES, MAX_URI_CHARS, OF_AN_ANSWER
from app.domain.ordering import Place, place_of
from app.domain.outcomes import Deleted
from app.domain.sources import ReplaceOptions, ReplaceScope, parse_observed_at
from app.errors import InvalidField
from app.intake.where_text import parse_order, write_order

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
            "description": "Texts are normalized to Unicode NFC; lengths are counted in it.",
        },
        "source_group": {"type": ["string", "null"], "minLength": 1, "maxLength": MAX_LABEL_CHARS},
        "extraction_type": {"type": "string", "minLength": 1, "maxLength": MAX_LABEL_CHARS},
        "confidence": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "metadata": {
            "type": ["object", "null"],
            "description": f"Data that may change and isn't part of the id; at most {MAX_METADATA_BYTES:,} bytes of JSON.",
        },
        "data": {"type": "object", "description": "Any JSON object that contains a text to embed."},
        **{name: {"description": "Part of an answer; ignored."} for name in sorted(OF_AN_ANSWER)},
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
            NDJSON: {"schema": {"type": "string", "description": "One extraction per line, without a limit."}},
        },
    }
}


@router.post(
    "/projects/{name}/extractions",
    status_code=202,
    response_model=Accepted | Replaced,
    responses=documented(404, 409, 413) | may_wait(Accepted | Replaced),
    openapi_extra=_BODY,
)
async def hand_in(  # noqa: PLR0913, PLR0917 - each is a parameter
    request: Request,
    parts: PartsOf,
    options: OptionsOf,
    name: ProjectName,
    wait: WaitOf,
    replace: Annotated[
        ReplaceScope | None,
        Query(
            description="`source`: each source gets exactly the facts in the body. `project`: the project also gets no "
            "other sources."
        ),
    ] = None,
    run: Annotated[
        Label | None,
        Query(description="The id of a run that was begun before, or the name of a new run for this request."),
    ] = None,
    observed_at: Annotated[
        str | None,
        Query(
            max_length=100,
            description="For a replace: when the content was observed, with a time zone. Default: now.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, Query(description="For a replace: list what would change, and change nothing.")
    ] = False,
    allow_mass_delete: Annotated[
        bool, Query(description="For a replace: allow it to remove most facts of a source or of the project.")
    ] = False,
    idempotency_key: Annotated[
        str | None, Header(description="The same request with the same key gets the same answer, for a day.")
    ] = None,
) -> Response:
    """Store extractions, each once, and queue their indexing; create the project if necessary.

    A JSON body is stored whole or not at all. NDJSON is stored in batches as it arrives: if a line
    is invalid, those before it are stored, and the problem says how many. The request is
    idempotent: sending it again stores nothing twice.

    With `replace`, the lines of a source must be consecutive, and the source gets exactly these
    facts: new ones are stored, missing ones are removed, and confidence, metadata and group are
    updated. `{"source_uri": "...", "gone": true}` empties a source. With NDJSON, a source is
    replaced when all its lines have arrived.
    """
    key = checked_key(idempotency_key, options.api_keys)
    of_run = RequestRun(parts, name, run, key)
    if replace is None:
        given = {"observed_at": observed_at, "dry_run": dry_run, "allow_mass_delete": allow_mass_delete}
        for parameter, value in given.items():
            if value:
                raise InvalidField(
                    parameter, "only applies to a replace; give replace=source or replace=project too"
                )
        return await Intake(options, of_run, wait).take(request)
    moment = None if observed_at is None else parse_observed_at(observed_at)
    replacing = ReplaceOptions(replace, moment, dry_run=dry_run, allow_mass_delete=allow_mass_delete)
    return await Replacement(options, of_run, replacing, wait).take(request)


@router.get("/projects/{name}/extractions", response_model=Extractions, responses=documented(404))
async def list_extractions(  # noqa: PLR0913, PLR0917 - each is a parameter
    parts: PartsOf,
    name: ProjectName,
    filters: WantedExtractions,
    limit: PageLimit = 100,
    cursor: str | None = None,
    sort: Annotated[
        str | None,
        Query(
            max_length=1_000,
            description="created, changed, confidence or a path such as price.amount; `-created` sorts descending. "
            "Default: by id.",
        ),
    ] = None,
) -> Response:
    """List a project's extractions that match the filters, sorted by id or by `sort`, in pages.

    Concurrent inserts and deletions neither repeat nor hide other extractions.

    A page of large extractions ends early, at 8 MiB of data: continue until `next_cursor` is null.
    """
    order = None if sort is None else parse_order(sort)
    if order is None:
        after: ExtractionId | Place | None = None if cursor is None else ExtractionId(read_id_in(name, cursor))
    else:
        after = None if cursor is None else read_place_in(name, order, cursor)
    rows, ends = await parts.extractions().list_page(name, filters, after=after, limit=limit, order=order)
    following = None
    if not ends:
        place = (str(rows[-1].id),) if order is None else (write_order(order), *place_of(order, rows[-1]))
        following = write_cursor(name, *place)
    warnings = await parts.fields().warnings(name, filters, rows, order)
    return await answer_items(map(extraction_as_dict, rows), {"next_cursor": following, "warnings": warnings})


@router.get("/projects/{name}/extractions/count", responses=documented(404))
async def count_extractions(parts: PartsOf, name: ProjectName, filters: WantedExtractions) -> Count:
    """Count a project's extractions that match the filters."""
    found = await parts.extractions().count(name, filters)
    return Count(count=found, warnings=list(await parts.fields().warnings(name, filters)))


@router.post(
    "/projects/{name}/extractions/delete",
    status_code=202,
    response_model=DeletedAnswer,
    responses=documented(404) | may_wait(DeletedAnswer),
)
async def delete_extractions(
    parts: PartsOf,
    name: ProjectName,
    body: Deletion,
    wait: WaitOf,
    dry_run: Annotated[
        bool, Query(description="Report how many would be deleted, and delete nothing.")
    ] = False,
) -> Response:
    """Delete a project's extractions by ids or by filters, or all; jobs delete their vectors."""
    chosen = ANY if body.filters is None else body.filters.for_service()
    warnings = await parts.fields().warnings(name, chosen)
    if dry_run:
        wanted = chosen if body.ids is None else Filters(extraction_ids=tuple(body.ids))
        found = await parts.extractions().count(name, wanted)
        would = deleted_as_dict(Deleted(found, []), dry_run=True, warnings=warnings)
        return answer_json({**would, "waited": None})
    if body.ids is not None:
        deleted = await parts.extractions().delete_batch(name, [ExtractionId(each) for each in body.ids])
    else:
        deleted = await parts.extractions().delete_matching(name, chosen)
    return await answer_deleted(deleted, wait, warnings)


@router.post("/projects/{name}/extractions/retry", status_code=202, responses=documented(404))
async def retry_extractions(parts: PartsOf, name: ProjectName, body: Retrial) -> RetriedAnswer:
    """Queue jobs that retry set-aside extractions; those that fail again are set aside again."""
    filters = ANY if body.filters is None else body.filters.for_service()
    chosen = filters if body.ids is None else Filters(extraction_ids=tuple(body.ids))
    retried = await parts.extractions().retry(name, chosen)
    warnings = await parts.fields().warnings(name, chosen)
    return RetriedAnswer(retried=retried.extractions, jobs=list(retried.job_ids), warnings=list(warnings))


@router.get("/extractions/{extraction_id}", response_model=Extraction, responses=documented(404))
async def get_extraction(parts: PartsOf, extraction_id: ExtractionIdOf) -> Response:
    """Get one extraction."""
    return answer_json(extraction_as_dict(await parts.extractions().get(ExtractionId(extraction_id))))


@router.delete(
    "/extractions/{extraction_id}",
    status_code=202,
    response_model=DeletedAnswer,
    responses=documented(404) | may_wait(DeletedAnswer),
)
async def delete_extraction(parts: PartsOf, extraction_id: ExtractionIdOf, wait: WaitOf) -> Response:
    """Delete one extraction; a job deletes its vector."""
    return await answer_deleted(await parts.extractions().delete(ExtractionId(extraction_id)), wait)
