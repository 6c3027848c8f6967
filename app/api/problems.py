"""Errors as problem details (RFC 9457): the status, type and public text of each."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from structlog.contextvars import get_contextvars

from app import errors
from app.errors import AgentStorageError
from app.intake.refusals import refusal_of

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:agent-storage:problem:"
_MOST_RETRY_AFTER_S = 3_600.0
_WRONG_METHOD = 405
_NO_PATH = 404
_PATH_CHARS = 200
_PARAMETER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem. ``detail`` replaces an error's message that may disclose too much."""

    status: int
    slug: str
    title: str
    detail: str | None = None
    retry_after_s: float | None = None


_INTERNAL = Kind(
    500, "internal", "Internal error", "An internal error; the service's log has it under this request's id."
)
_INDEX = Kind(
    503,
    "index-not-usable",
    "The index can't be used",
    "The index is missing, or isn't the configured embedder's; `agent-storage doctor` says what to do.",
    30.0,
)
_FULL = Kind(
    503,
    "disk-full",
    "Disk full",
    "A disk of this service is full; its log says which.",
    30.0,
)

_DOCTOR = "the service's log says why, and `agent-storage doctor` on its machine what to check."

KINDS: Mapping[type[AgentStorageError], Kind] = {
    errors.InvalidInput: Kind(422, "invalid-input", "Invalid input"),
    errors.NotFound: Kind(404, "not-found", "Not found"),
    errors.Conflict: Kind(409, "conflict", "Conflict"),
    errors.IdempotencyConflict: Kind(
        422, "idempotency-key-reused", "Idempotency-Key used for a different request"
    ),
    errors.RunEnded: Kind(409, "run-ended", "The run has ended"),
    errors.StaleReplace: Kind(409, "stale-replace", "Older than the stored observation"),
    errors.MassDeleteRefused: Kind(409, "mass-delete", "Would remove most extractions"),
    errors.HistoryPruned: Kind(410, "history-pruned", "The history has been pruned"),
    errors.Saturated: Kind(503, "saturated", "Too busy", retry_after_s=1.0),
    errors.DeadlineExceeded: Kind(503, "deadline-exceeded", "Took too long", retry_after_s=1.0),
    errors.ShuttingDown: Kind(503, "shutting-down", "Shutting down", retry_after_s=5.0),
    errors.DatabaseUnavailable: Kind(
        503,
        "database-unavailable",
        "Database unavailable",
        f"The database can't be reached at the moment; {_DOCTOR}",
        2.0,
    ),
    errors.DatabaseDiskFull: _FULL,
    errors.DatabaseReadOnly: Kind(
        503, "read-only", "Read-only", "This service's database is read-only at the moment.", 30.0
    ),
    errors.DatabaseWritesRefused: Kind(
        503, "read-only", "Read-only", "This service's database takes no writes at the moment.", 2.0
    ),
    errors.DatabaseTimeout: Kind(
        503, "database-timeout", "Database timeout", "The database exceeded a time limit.", 2.0
    ),
    errors.QdrantUnavailable: Kind(
        503,
        "qdrant-unavailable",
        "Qdrant unavailable",
        f"Qdrant can't be reached at the moment; {_DOCTOR}",
        2.0,
    ),
    errors.QdrantDiskFull: _FULL,
    errors.EmbeddingUnavailable: Kind(
        503,
        "embedder-unavailable",
        "Embedder unavailable",
        f"The embedder can't be reached at the moment; {_DOCTOR}",
        2.0,
    ),
    errors.EmbeddingRejected: Kind(422, "embedding-rejected", "The text can't be embedded"),
    errors.EmbedderMismatch: _INDEX,
    errors.TextsMismatch: _INDEX,
    errors.IndexMissing: _INDEX,
    errors.GenerationMismatch: _INDEX,
    errors.CollectionMissing: _INDEX,
    errors.ForeignCollection: _INDEX,
    errors.IndexRebuilding: Kind(
        503,
        "index-rebuilding",
        "The index is being rebuilt",
        "The index is being rebuilt; try again later.",
        30.0,
    ),
    errors.IndexChanged: Kind(
        503,
        "index-changed",
        "The index was rebuilt with other settings",
        "The index was rebuilt with another embedder or other texts than this process uses; restart it with those settings.",
        30.0,
    ),
    errors.CollectionMismatch: _INDEX,
    AgentStorageError: _INTERNAL,
}
"""Looked up by the nearest class in an error's MRO."""

_HTTP_TITLES = {
    400: "Bad request",
    401: "Not authenticated",
    404: "Not found",
    405: "Method not allowed",
    408: "The body didn't come in time",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Invalid input",
    503: "Too busy",
}


class Refused(HTTPException):
    """A request refused by the API itself; an HTTPException, because FastAPI passes those on."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,  # noqa: ANN401 - JSON
    ) -> None:
        super().__init__(status, detail, headers)
        self.slug = slug
        self.extensions = extensions


def kind_of(error: AgentStorageError) -> Kind:
    """Return an error's kind of problem."""
    return next(KINDS[each] for each in type(error).__mro__ if each in KINDS)


def problem(  # noqa: PLR0913 - the members of a problem
    status: int,
    slug: str,
    title: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """Make a problem answer; ``extensions`` are further members."""
    members = {"type": _TYPE + slug, "title": title, "status": status, "detail": _printable(detail)}
    request_id = get_contextvars().get("request_id")
    body = orjson.dumps({**members, **(extensions or {}), "request_id": request_id}, default=str)
    return Response(body, status, dict(headers or {}), MEDIA_TYPE)


def _printable(text: str) -> str:
    """Escape lone surrogates that a client may have sent, which UTF-8 can't encode."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


async def answer_storage_error(_: Request, error: Exception) -> Response:
    """Answer an :class:`AgentStorageError`."""
    assert isinstance(error, AgentStorageError)  # noqa: S101 - it is registered for these
    kind = kind_of(error)
    if kind.detail is not None:
        expected = error.retryable or kind is not _INTERNAL
        logger.warning("request failed: %s", error, exc_info=None if expected else error)
    headers = {}
    if kind.retry_after_s is not None:
        headers["retry-after"] = str(
            round(min(max(1.0, error.retry_after_s or kind.retry_after_s), _MOST_RETRY_AFTER_S))
        )
    extensions = {
        name: value
        for name in ("field", "index", "line", "first_line")
        if (value := getattr(error, name, None)) is not None
    }
    detail = kind.detail or str(error)
    return problem(kind.status, kind.slug, kind.title, detail, headers=headers, extensions=extensions)


async def answer_http(request: Request, error: Exception) -> Response:
    """Answer an ``HTTPException`` of the framework, or a :class:`Refused`."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these
    title = _HTTP_TITLES.get(error.status_code, "Refused")
    slug = error.slug if isinstance(error, Refused) else title.lower().replace(" ", "-").replace("'", "")
    extensions = error.extensions if isinstance(error, Refused) else {}
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    detail = error.detail
    if not isinstance(error, Refused):  # the framework's says only the title
        allowed = _allowed(request) if error.status_code == _WRONG_METHOD else ""
        headers |= {"allow": allowed} if allowed else {}
        detail = _way_out(request, error, allowed)
    return problem(error.status_code, slug, title, detail, headers=headers, extensions=extensions)


def _way_out(request: Request, error: HTTPException, allowed: str) -> str:
    """What to ask instead of a path or a method that there isn't; never repeats the request."""
    root = request.scope.get("root_path", "")
    listed = f"GET {root}/openapi.json lists all paths and methods, and {root}/docs shows them"
    if error.status_code == _WRONG_METHOD:
        return f"this path takes only {allowed}; {listed}" if allowed else f"not with this method; {listed}"
    if error.status_code != _NO_PATH:
        return error.detail
    near = get_close_matches(request.scope["path"][:_PATH_CHARS], request.app.methods_by_path, n=1)
    hint = f"did you mean {root}{near[0]}? " if near else ""
    return f"there is no such path; {hint}{listed}"


def _allowed(request: Request) -> str:
    """Return all methods of a path; the framework only names those of its first route.

    If several templates match, the one with the fewest parameters counts.
    """
    paths: Mapping[str, Collection[str]] = request.app.methods_by_path
    fitting = [template for template in paths if _fits(template, request.scope["path"])]
    meant = min(fitting, key=lambda template: len(_PARAMETER.findall(template)), default=None)
    return "" if meant is None else ", ".join(sorted(paths[meant]))


def _fits(template: str, path: str) -> bool:
    return re.fullmatch(_PARAMETER.sub("[^/]+", template), path) is not None


async def answer_validation(_: Request, error: Exception) -> Response:
    """Answer a request whose parameters or body don't fit their schema."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these
    first = error.errors()[0]
    field = _field(first["loc"])
    detail = f"{field}: {refusal_of(first)}" if field else refusal_of(first)
    return problem(422, "invalid-input", "Invalid input", detail[:1_000], extensions={"field": field})


async def answer_unexpected(_: Request, error: Exception) -> Response:
    """Answer any other error: log it in full, and disclose nothing."""
    logger.error("request broke", exc_info=error)
    return problem(500, _INTERNAL.slug, _INTERNAL.title, _INTERNAL.detail or "")


def _field(location: Sequence[Any]) -> str:
    """Return the dotted name of a field, without the part of the request, such as ``body``."""
    text = ".".join(str(each) for each in location[1:] or location)
    return text[:100] if text.isprintable() else ascii(text[:100])[1:-1]


_TITLE_BY_STATUS = {
    401: "The key is missing or wrong",
    403: "Without keys, only this machine is served",
    404: "Not found",
    408: "The body didn't arrive in time",
    409: "The request conflicts with the stored state",
    410: "The history has been pruned",
    413: "The body is too large",
    414: "The URL is too long",
    415: "The body has another media type, or is encoded",
    422: "The request is invalid; nothing was changed unless the answer says so",
    500: "Internal error",
    503: "Unavailable at the moment; try again after Retry-After seconds",
}
_SCHEMA = {"$ref": "#/components/schemas/Problem"}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI documentation of the problem answers with these statuses."""
    return {
        status: {"description": _TITLE_BY_STATUS[status], "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
        for status in statuses
    }


PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "Problem details, RFC 9457.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": ["string", "null"]},
        "field": {"type": "string", "description": "The dotted name of the invalid field."},
        "index": {"type": "integer", "description": "The invalid item, counted from 0."},
        "line": {"type": "integer", "description": "The invalid line of a replace, counted from 1."},
        "first_line": {"type": "integer", "description": "The earlier line of a source that is repeated."},
        "replaced_sources": {
            "type": "integer",
            "description": "How many sources were replaced before the error.",
        },
        "stored": {"type": "integer", "description": "How many items before the invalid one are stored."},
    },
}
