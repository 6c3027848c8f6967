"""The bounds of a request's head, and the answers to requests that never reach the application."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.entrypoints.connections import ConnectionLimits

if TYPE_CHECKING:
    from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, with the status and the parts of the problem to answer."""

    status: int
    slug: str
    title: str
    detail: str

    def answer(
        self, default_headers: list[tuple[bytes, bytes]], headers: dict[str, str] | None = None
    ) -> bytes:
        """The bytes of the answer, after which the connection is closed."""
        from app.api.problems import problem

        closing = {"connection": "close", **(headers or {})}
        response = problem(self.status, self.slug, self.title, self.detail, headers=closing)
        return b"".join(_raw(response, default_headers))


MALFORMED = Refusal(400, "malformed-request", "Malformed request", "the request isn't valid HTTP/1.1")
CROWDED = Refusal(503, "saturated", "Too busy", "there are too many connections")


def head_too_long(limits: ConnectionLimits) -> Refusal:
    """The headers, or the trailers, exceed a limit."""
    detail = f"the headers have more than {limits.max_head_bytes:,} bytes or {limits.max_header_lines} lines"
    return Refusal(431, "headers-too-large", "Headers too large", detail)


def head_too_slow(limits: ConnectionLimits) -> Refusal:
    """The headers took longer than their limit."""
    detail = f"the headers didn't end within {limits.head_s:g} s"
    return Refusal(408, "headers-too-slow", "Headers too slow", detail)


class HeadSize:
    """The size of one request's head so far, including its trailers."""

    __slots__ = ("_bytes", "_limits", "_lines", "_url_bytes")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._url_bytes = self._bytes = self._lines = 0

    def add_url(self, part: bytes) -> Refusal | None:
        """Count a part of the URL; return the refusal once it is too long."""
        self._url_bytes += len(part)
        if self._url_bytes <= self._limits.max_url_bytes:
            return None
        detail = f"the URL has more than {self._limits.max_url_bytes:,} bytes"
        return Refusal(414, "url-too-long", "URL too long", detail)

    def add_line(self, name: bytes, value: bytes) -> Refusal | None:
        """Count a header or a trailer; return the refusal once the head is too long."""
        self._lines += 1
        self._bytes += len(name) + len(value) + 4
        fits = self._bytes + self._url_bytes <= self._limits.max_head_bytes
        return None if fits and self._lines <= self._limits.max_header_lines else head_too_long(self._limits)


def _raw(response: "Response", default_headers: list[tuple[bytes, bytes]]) -> Iterable[bytes]:
    yield STATUS_LINE[response.status_code]
    for name, value in (*default_headers, *response.raw_headers):
        yield b"%b: %b\r\n" % (name, value)
    yield b"\r\n"
    yield bytes(response.body)
