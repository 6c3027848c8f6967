"""Middleware for every request: its path prefix, its id, its log line and its metrics.

Plain ASGI, because streams must pass through. Other middleware: :mod:`app.api.admission`,
:mod:`app.api.keys`, :mod:`app.api.bodies`.
"""

import logging
import re
import time
import uuid
from collections.abc import Callable, Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.api.keys import is_a_key
from app.api.problems import answer_unexpected
from app.services.metrics.instruments import Instruments

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class PrefixMiddleware:
    """Sets the application's external path prefix, whether or not a proxy strips it from paths."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        inside = {**scope, "root_path": self._prefix}
        if scope["path"].startswith(f"{self._prefix}/"):
            inside["path"] = scope["path"].removeprefix(self._prefix)
        await self._app(inside, receive, send)


class RequestMiddleware:
    """Gives each request an id (``X-Request-ID``), logs one line for it and measures it.

    An unexpected error becomes a problem answer, unless the answer has begun. A client's own id is
    kept, unless it is one of ``keys``, which must not get into the log.
    """

    def __init__(self, app: ASGIApp, instruments: Callable[[], Instruments], keys: Sequence[str] = ()) -> None:
        self._app = app
        self._instruments = instruments
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope).get("x-request-id"), self._keys)
        started, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                pass  # there is no client to answer
            except Exception as error:
                if status:
                    raise  # the answer has begun
                response = await answer_unexpected(None, error)  # type: ignore[arg-type]  # it is unused
                await response(scope, receive, send_with_id)
            finally:
                seconds = time.monotonic() - started
                route = _route(scope)
                self._instruments().http(scope["method"], route, status or 499, seconds)
                logger.info(
                    "request",
                    extra={
                        "method": scope["method"],
                        "route": route,
                        "status": status or 499,
                        "seconds": round(seconds, 4),
                    },
                )


def _request_id(given: str | None, keys: Sequence[str]) -> str:
    usable = given and _REQUEST_ID.fullmatch(given) and not is_a_key(given.encode(), keys)
    return given if given and usable else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"
