"""Middleware that admits requests by their key or, without keys, by their origin."""

import hmac
import re
from collections.abc import Collection, Sequence

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.problems import problem
from app.api.routes import docs

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_PORT = re.compile(r":\d+\Z")
_OTHER_SITES = frozenset({"cross-site", "same-site"})
_USUAL_PORTS = {"http": ":80", "https": ":443"}

OPEN_TO_ALL = frozenset({"/health/live", "/health/ready", "/openapi.json"}) | docs.PATHS
"""The paths that need no key."""


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
        if scope["type"] != "http" or scope["path"] in OPEN_TO_ALL:
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
