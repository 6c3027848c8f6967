"""Middleware that limits the bodies of requests, in size, shape and time.

Plain ASGI, because FastAPI reads bodies before it solves dependencies.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from fastapi import Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.json_guard import JsonGuard
from app.api.parts import ApiOptions
from app.api.problems import Refused, problem

NDJSON = "application/x-ndjson"

CLOSING = {"connection": "close"}
"""For an answer before the body's end: the rest isn't read, so the connection can't be reused."""

_HANDING_IN = "/extractions"
_DELETING = "/extractions/delete"

_SMALL_BODY_BYTES = 2 * 2**20
"""The maximum size of a body that doesn't hold extractions."""

_SMALL_BODY_VALUES = 1_000
"""The same for values: three lists of a hundred, and room for mistakes. Ids to delete are extra."""

_PIECE_BYTES = 64 * 2**10


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


def media_type(headers: Headers) -> str:
    """Return the body's media type without parameters, in lower case; empty if there is none."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def in_turns(body: bytes) -> AsyncIterator[bytes]:
    """Yield pieces of a body's chunk; other tasks of the event loop get a turn between them."""
    for start in range(0, len(body), _PIECE_BYTES):
        if start:
            await asyncio.sleep(0)
        yield body[start : start + _PIECE_BYTES]


def _check_head(headers: Headers, guard: JsonGuard | None) -> None:
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "content-encoding", "the body is compressed or encoded; send it without an encoding")
    if guard is not None:
        guard.announce(_length(headers))


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


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _refusal_of(refused: Refused) -> Response:
    title = "Body refused"
    return problem(refused.status_code, refused.slug, title, refused.detail, headers=CLOSING)
