"""Translate the errors of ``qdrant_client``, over HTTP and gRPC, to :class:`ClientFailure`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from grpc import RpcError, StatusCode
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from app.services.storage.qdrant.ports import ClientFailure

_REASON_CHARS = 300
_NO_COLLECTION = re.compile(r"Collection \S+ (doesn't exist|not found)")
_OVER_LIMIT = re.compile(r"Limit exceeded \d+ > (\d+) for \W+(?:upsert )?limit\b")
_OVER_CONDITION = re.compile(r"Condition size limit reached \(\d+ > (\d+)\)")
_TOO_LARGE = re.compile(
    r"larger than (?:allowed|rate limiter capacity|max)|message length too large|HTTP 413", re.IGNORECASE
)
_NO_SPACE = re.compile(r"no space left on device|not enough (?:disk )?space", re.IGNORECASE)
_TRANSIENT = frozenset(
    {
        StatusCode.UNAVAILABLE,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.RESOURCE_EXHAUSTED,
        # A server's internal error, and a call whose connection is cut or whose proxy fails.
        StatusCode.INTERNAL,
        StatusCode.UNKNOWN,
        StatusCode.CANCELLED,
        StatusCode.ABORTED,
    }
)


def is_passing(error: RpcError) -> bool:
    """Whether the error is transient: the same call may succeed later."""
    return error.code() in _TRANSIENT


@contextmanager
def translated() -> Iterator[None]:
    """Translate the library's errors to ClientFailure, without secrets in their texts."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise ClientFailure(str(error), transient=True, retry_after_s=error.retry_after_s) from error
    except QdrantException as error:
        # Only raised for a 429 whose Retry-After is a date.
        raise ClientFailure(str(error), transient=True) from error
    except UnexpectedResponse as error:
        raise _refused(error) from error
    except ResponseHandlingException as error:
        raise _unanswered(error.source) from error
    except RpcError as error:
        raise _ended(error) from error
    except (ApiException, ValueError, TypeError, KeyError, AssertionError) as error:
        # The imitation and the client's own checks raise these where a server answers 4xx.
        reason = str(error) or type(error).__name__
        raise ClientFailure(reason, missing=_names_no_collection(reason)) from error


def _refused(error: UnexpectedResponse) -> ClientFailure:
    status = error.status_code or 0
    body = error.content.decode(errors="replace")[:_REASON_CHARS]
    if known := _known(f"HTTP {status}: {body}"):
        return known
    return ClientFailure(
        f"HTTP {status}: {body}",
        transient=status == 429 or status >= 500,  # noqa: PLR2004 - HTTP
        missing=status == 404 and _names_no_collection(body),  # noqa: PLR2004 - HTTP
    )


def _unanswered(source: Exception) -> ClientFailure:
    if isinstance(source, httpx.LocalProtocolError):
        # Its text quotes the header, which may have the API key.
        return ClientFailure("the request is not valid HTTP; check qdrant.url and qdrant.api_key")
    reason = str(source)[:_REASON_CHARS] or type(source).__name__
    return ClientFailure(reason, transient=isinstance(source, httpx.TransportError))


def _ended(error: RpcError) -> ClientFailure:
    details = (error.details() or "")[:_REASON_CHARS]
    if known := _known(f"gRPC {error.code().name}: {details}"):
        return known
    missing = error.code() == StatusCode.NOT_FOUND and _names_no_collection(details)
    return ClientFailure(f"gRPC {error.code().name}: {details}", transient=is_passing(error), missing=missing)


def _known(reason: str) -> ClientFailure | None:
    """The failure if it is known by its text: a full disk, or a request over a limit."""
    if _NO_SPACE.search(reason):
        return ClientFailure(f"the server's disk is full: {reason}. Free space on it.", disk_full=True)
    if found := _OVER_LIMIT.search(reason):
        return ClientFailure(reason, too_much=True, most=int(found[1]))
    if found := _OVER_CONDITION.search(reason):
        return ClientFailure(reason, too_much=True, most=int(found[1]), of_filter=True)
    return ClientFailure(reason, too_much=True) if _TOO_LARGE.search(reason) else None


def _names_no_collection(text: str) -> bool:
    """Whether a refusal says that the collection is missing, and not a point or a path."""
    return _NO_COLLECTION.search(text) is not None
