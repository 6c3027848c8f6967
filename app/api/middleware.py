"""Middleware for every request: its id, log line and metrics, its key, and its body's limits.

Plain ASGI, because FastAPI reads bodies before it solves dependencies, and because streams must
pass through.
"""

import asyncio
import hmac
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from fastapi import Request, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from app.api.json_guard import JsonGuard
from app.api.parts import ApiOptions
from app.api.problems import Refused, answer_unexpected, problem
from app.api.routes import docs
from app.logs import Tally
from app.services.metrics.instruments import Instruments

logger = logging.getLogger(__name__)

NDJSON = "application/x-ndjson"

ENDLESS = "agent_storage.endless"
"""The key in the state of a request whose answer only ends when its client disconnects."""

CLOSING = {"connection": "close"}
"""For an answer before the body's end: the rest isn't read, so the connection can't be reused."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_HANDING_IN = "/extractions"
_DELETING = "/extractions/delete"
_SMALL_BODY_BYTES = 2 * 2**20
"""The maximum size of a body that doesn't hold extractions."""

_SMALL_BODY_VALUES = 1_000
"""The same for values: three lists of a hundred, and room for mistakes. Ids to delete are extra."""

_PIECE_BYTES = 64 * 2**10

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PORT = re.compile(r":\d+\Z")
_OTHER_SITES = frozenset({"cross-site", "same-site"})
_USUAL_PORTS = {"http": ":80", "https": ":443"}
_OPEN_TO_ALL = frozenset({"/health/live", "/health/ready", "/openapi.json"}) | docs.PATHS
_UNCOUNTED = _OPEN_TO_ALL | {"/metrics"}
_EVENTS = re.compile(r"/v1/jobs/[^/]+/events")
_FEED = re.compile(r"/v1/projects/[^/]+/changes")
_EVENT_STREAM = "text/event-stream"


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


class KeyMiddleware:
    """Admits requests with one of the keys, in ``Authorization: Bearer`` or ``X-API-Key``.

    If no keys are configured, it admits programs on this machine, but no page of another site in
    this machine's browser, except those of ``cors_origins``. Requests of other pages have an
    ``Origin``, ``Sec-Fetch-Site: cross-site``, or their own host in ``Host``. With keys this check
    isn't needed, because a browser never adds a key on its own.
    """

    def __init__(
        self, app: ASGIApp, keys: tuple[str, ...], host: str, cors_origins: Collection[str] = ()
    ) -> None:
        self._app = app
        self._keys = keys
        self._origins = frozenset(origin.lower() for origin in cors_origins)
        self._hosts = _LOOPBACK | {host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in _OPEN_TO_ALL:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not self._keys and not self._is_from_here(headers):
            await _foreign()(scope, receive, send)
        elif self._keys and not self._admits(_given_key(headers)):
            await _unauthenticated()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_from_here(self, headers: Headers) -> bool:
        address, origins = headers.get("host", "").lower(), headers.getlist("origin")
        if _PORT.sub("", address).strip("[]") not in self._hosts:
            return False
        if origins and self._origins.issuperset(map(str.lower, origins)):
            return True
        return headers.get("sec-fetch-site") not in _OTHER_SITES and all(
            _is_of(origin, address) for origin in origins
        )

    def _admits(self, given: bytes) -> bool:
        return is_a_key(given, self._keys)


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


class BodyMiddleware:
    """Refuses bodies that are encoded, too slow, or over a limit, while they arrive.

    For NDJSON it only checks the time, because its lines are checked one by one as they are read.
    """

    def __init__(self, app: ASGIApp, options: ApiOptions) -> None:
        self._app = app
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        guard = None if media_type(headers) == NDJSON else self._guard(scope["path"])
        try:
            _check_head(headers, guard)
        except Refused as refused:
            await _refusal_of(refused)(scope, receive, send)
            return
        await self._app(scope, _guarded(receive, guard, self._options.chunk_patience_s), send)

    def _guard(self, path: str) -> JsonGuard:
        options = self._options
        guard = JsonGuard(
            max_bytes=options.max_body_bytes,
            max_items=options.max_items,
            max_depth=options.item_limits.max_depth,
            max_string_chars=options.item_limits.max_string_chars,
        )
        if path.endswith(_HANDING_IN):
            return guard
        ids = options.max_items if path.endswith(_DELETING) else 0
        return replace(
            guard,
            max_bytes=min(options.max_body_bytes, _SMALL_BODY_BYTES),
            max_values=ids + _SMALL_BODY_VALUES,
        )


def is_a_key(given: bytes, keys: Sequence[str]) -> bool:
    """Compare with every key in constant time, so that the duration reveals nothing."""
    fits = [hmac.compare_digest(given, key.encode()) for key in keys]
    return any(fits)


def caller_of(request: Request, keys: Sequence[str]) -> str:
    """Identify the caller: by its key or, without keys, by its address."""
    given = _given_key(request.headers)
    fits = [place for place, key in enumerate(keys) if hmac.compare_digest(given, key.encode())]
    address = request.client.host if request.client is not None else "unknown"
    return f"key {fits[0]}" if fits else address


def _check_head(headers: Headers, guard: JsonGuard | None) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "content-encoding", "the body is compressed or encoded; send it without an encoding")
    if guard is not None:
        guard.announce(_length(headers))


def media_type(headers: Headers) -> str:
    """Return the body's media type without parameters, in lower case; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def wants_events(headers: Headers) -> bool:
    """Whether the client accepts an event stream, on a route that also has pages."""
    ranges = ",".join(headers.getlist("accept")).split(",")
    return any(each.partition(";")[0].strip().lower() == _EVENT_STREAM for each in ranges)


def _guarded(receive: Receive, guard: JsonGuard | None, patience_s: float) -> Receive:
    whole = False

    async def receive_guarded() -> Message:
        nonlocal whole
        if whole:  # only the client's disconnection can follow
            return await receive()
        try:
            async with asyncio.timeout(patience_s):
                message = await receive()
        except TimeoutError:
            reason = f"no part of the body arrived for {patience_s:g} s"
            raise Refused(408, "body-too-slow", reason, headers=CLOSING) from None
        whole = not message.get("more_body", False)
        if guard is not None and message["type"] == "http.request":
            try:
                async for piece in in_turns(message.get("body", b"")):
                    guard.feed(piece)
            except Refused as refused:
                refused.headers = CLOSING
                raise
        return message

    return receive_guarded


async def in_turns(body: bytes) -> AsyncIterator[bytes]:
    """Yield pieces of a body's chunk; other tasks of the event loop get a turn between them."""
    for start in range(0, len(body), _PIECE_BYTES):
        if start:
            await asyncio.sleep(0)
        yield body[start : start + _PIECE_BYTES]


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _request_id(given: str | None, keys: Sequence[str]) -> str:
    usable = given and _REQUEST_ID.fullmatch(given) and not is_a_key(given.encode(), keys)
    return given if given and usable else uuid.uuid4().hex


def _given_key(headers: Headers) -> bytes:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1", "replace")


def _is_of(origin: str, address: str) -> bool:
    """Whether an ``Origin`` has the host and port of ``Host``; another port is another program."""
    scheme, separator, place = origin.lower().partition("://")
    usual = _USUAL_PORTS.get(scheme)
    if usual is None or not separator:  # "null", a browser extension, a file
        return False
    return place.removesuffix(usual) == address.removesuffix(usual)


def _route(scope: Scope) -> str:
    route = scope.get("route")
    return getattr(route, "path", None) or "unmatched"


def _foreign() -> Response:
    return problem(
        403,
        "foreign-host",
        "Not from here",
        "without api.api_keys the service only serves programs on this machine, which must address it by a local "
        "name such as 127.0.0.1, and no pages of other origins",
    )


def _unauthenticated() -> Response:
    return problem(
        401,
        "not-authenticated",
        "Not authenticated",
        "this needs one of the service's keys, as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
        headers={"www-authenticate": "Bearer"},
    )


def _saturated(most: int) -> Response:
    request_id = uuid.uuid4().hex
    headers = {"retry-after": "1", "x-request-id": request_id}
    detail = f"{most} requests are in progress, the maximum; try again after Retry-After"
    with bound_contextvars(request_id=request_id):
        return problem(503, "saturated", "Too busy", detail, headers=headers)


def _refusal_of(refused: Refused) -> Response:
    title = "Body refused"
    return problem(refused.status_code, refused.slug, title, refused.detail, headers=CLOSING)
