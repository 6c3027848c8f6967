"""Decodes a service's answers, and turns problem details (RFC 9457) into this project's errors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import httpx2
import orjson

from app.cli.stores import KEY_VARIABLE
from app.errors import ServiceError, ServiceUnavailable
from app.intake.bounded_body import redirect_target
from app.retry import parse_retry_after

CSV = "text/csv"
_NOT_AUTHENTICATED = 401
_PASSING = frozenset({429, 502, 503, 504})
_REASON_CHARS = 1_000
_NOT_OURS = "the answer isn't from agent-storage's API; is --api the address of `agent-storage serve`?"


class Table(NamedTuple):
    """A page of CSV, and the cursor of the next page, if there is one."""

    content: bytes
    next_cursor: str | None


class TransientServiceError(Exception):
    """A failed try that can be retried, after ``least_s`` at the earliest."""

    def __init__(self, failure: ServiceUnavailable, least_s: float = 0.0) -> None:
        self.failure = failure
        self.least_s = least_s
        super().__init__(str(failure))


class AbsentError(TransientServiceError):
    """No connection could be made, and so the request wasn't sent."""


class LostError(TransientServiceError):
    """The request was sent but no answer came, so it may have taken effect."""


def read_answer(asked: str, response: httpx2.Response, content: bytes, *, with_key: bool) -> Any:  # noqa: ANN401 - JSON
    """Decode the JSON body ``content`` of a successful answer.

    Raises:
        TransientServiceError: the status is 429, 502, 503 or 504.
        ServiceError: any other error status, a redirect, or a body that isn't JSON.
    """
    if not response.is_success:
        raise _failure(asked, response, content, with_key=with_key)
    return read_content(asked, response.status_code, content)


def read_content(asked: str, status: int, content: bytes) -> Any:  # noqa: ANN401 - JSON
    """Decode the JSON body of an answer.

    Raises:
        ServiceError: the body isn't JSON.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise ServiceError(asked, _NOT_OURS, status=status) from None


def read_table(asked: str, response: httpx2.Response, content: bytes, *, with_key: bool) -> Table:
    """The CSV of a successful answer, as bytes. Raises the errors of :func:`read_answer`."""
    if not response.is_success:
        raise _failure(asked, response, content, with_key=with_key)
    if response.headers.get("content-type", "").partition(";")[0] != CSV:
        raise ServiceError(asked, _NOT_OURS, status=response.status_code)
    return Table(content, response.headers.get("x-next-cursor"))


def _failure(asked: str, response: httpx2.Response, content: bytes, *, with_key: bool) -> Exception:
    status = response.status_code
    members = _members(content)
    request_id = _text(members, "request_id") or response.headers.get("x-request-id")
    if status in _PASSING:
        unavailable = ServiceUnavailable(asked, _reason(members), status=status, request_id=request_id)
        return TransientServiceError(unavailable, parse_retry_after(response.headers.get("retry-after")))
    if status == _NOT_AUTHENTICATED:
        reason = _about_the_key(with_key=with_key)
    elif response.is_redirect:
        reason = f"it leads to {redirect_target(response.headers.get('location', ''))}, and redirects are not followed; {_NOT_OURS}"
    else:
        reason = _reason(members)
    return ServiceError(asked, reason, status=status, request_id=request_id)


def _about_the_key(*, with_key: bool) -> str:
    wrong = "isn't one of the service's keys" if with_key else "isn't set, and the service requires a key"
    beside = "for a service found on this machine, the first of api.api_keys takes precedence"
    return f"not authenticated: {KEY_VARIABLE} {wrong} ({beside})"


def _members(content: bytes) -> Mapping[str, Any]:
    try:
        members = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return members if isinstance(members, Mapping) else {}


def _reason(members: Mapping[str, Any]) -> str:
    """The title and detail of a problem, or a remark that the answer isn't one."""
    title, detail = _text(members, "title"), _text(members, "detail")
    if title is None:
        return _NOT_OURS
    return title if detail is None or detail == title else f"{title}: {detail}"


def _text(members: Mapping[str, Any], name: str) -> str | None:
    """A member on one line, without terminal control characters."""
    value = members.get(name)
    if not isinstance(value, str):
        return None
    return "".join(char if char.isprintable() else " " for char in value[:_REASON_CHARS])
