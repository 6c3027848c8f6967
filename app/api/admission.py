"""Middleware that bounds the requests in progress, and refuses others at once (backpressure)."""

import logging
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.api.event_streams import wants_events
from app.api.keys import OPEN_TO_ALL
from app.api.problems import problem
from app.logs import Tally
from app.services.metrics.instruments import Instruments

logger = logging.getLogger(__name__)

_UNCOUNTED = OPEN_TO_ALL | {"/metrics"}
_EVENTS = re.compile(r"/v1/jobs/[^/]+/events")
_FEED = re.compile(r"/v1/projects/[^/]+/changes")


class Admission:
    """Counts the requests in progress, of which there may be ``most`` at once.

    Health checks, metrics, paths that need no key, and event streams, which have their own limit,
    don't count.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.at_work = 0

    def is_full_for(self, scope: Scope) -> bool:
        """Whether a request must be refused."""
        return self.at_work >= self.most and self.counts(scope)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Give up the request's place while it waits, so that waiting requests block no others."""
        self.at_work -= 1
        try:
            yield
        finally:
            self.at_work += 1

    @staticmethod
    def counts(scope: Scope) -> bool:
        """Whether a request counts."""
        path = scope["path"]
        is_stream = _EVENTS.fullmatch(path) or (_FEED.fullmatch(path) and wants_events(Headers(scope=scope)))
        return path not in _UNCOUNTED and not is_stream


class AdmissionMiddleware:
    """Backpressure: refuses requests at once while the maximum is in progress.

    Without it, excess requests would queue for the lanes until their timeouts, and starve the event
    loop. Refusing must be cheap, because clients that retry at once would slow down the requests in
    progress. So this is the outermost middleware, it runs before keys and bodies are read, and it
    doesn't log each request.
    """

    def __init__(self, app: ASGIApp, admission: Admission, instruments: Callable[[], Instruments]) -> None:
        self._app = app
        self._admission = admission
        self._instruments = instruments
        self._tally = Tally(logger)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not self._admission.is_full_for(scope):
            await self._app(scope, receive, send)
            return
        most = self._admission.most
        self._tally.note(f"refused a request: {most} are at work", (scope["client"] or (None,))[0])
        self._instruments().http(scope["method"], "unmatched", 503, 0.0)
        await _saturated(most)(scope, receive, send)


class WorkMiddleware:
    """Counts the requests in progress, after the key check, so that only valid keys take places.

    A request doesn't count while it waits for the rest of its body, so that slow clients don't keep
    others out.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not self._admission.counts(scope):
            await self._app(scope, receive, send)
            return

        async def receive_uncounted() -> Message:
            with self._admission.left():
                return await receive()

        self._admission.at_work += 1
        try:
            await self._app(scope, receive_uncounted, send)
        finally:
            self._admission.at_work -= 1


def _saturated(most: int) -> Response:
    request_id = uuid.uuid4().hex
    headers = {"retry-after": "1", "x-request-id": request_id}
    detail = f"{most} requests are in progress, the maximum; try again after Retry-After"
    with bound_contextvars(request_id=request_id):
        return problem(503, "saturated", "Too busy", detail, headers=headers)
