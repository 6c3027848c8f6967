"""uvicorn's HTTP protocol, with bounds on what happens before the application is called.

uvicorn's httptools protocol accepts URLs, header lines and trailers of any length. It waits for the
end of a head without a timeout, keeps reading while answers are pending, and never drops a client
that doesn't read. This subclass adds limits and timeouts:

- A head, including its trailers, is bounded in bytes, lines and time.
- Each connection processes one request at a time. Pipelined requests are parsed after the answer.
  Until then nothing more is read from the connection.
- A client that doesn't read its answer is dropped.
- A client that closes its sending side still gets its answer.
"""

import asyncio
import re
from contextvars import Context
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.entrypoints.connections import Connections
from app.entrypoints.http_refusals import CROWDED, MALFORMED, HeadSize, Refusal, head_too_long, head_too_slow

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application

_HEAD_END = b"\r\n\r\n"
_NEVER = float("inf")

_BODY_STEP = 128
"""The shortest piece of a body that is parsed at once, in bytes.

A body may contain what looks like the end of a head at every fourth byte. Parsing a piece for each
took 46 ms for 200 KB.
"""

_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)
_IGNORED_UPGRADE = b"\r\nx-ignored-upgrade:"


class _Phase(Enum):
    """The phase of a connection; in all but ``WORK`` it waits for the client."""

    IDLE = auto()
    HEAD = auto()
    WORK = auto()
    REST = auto()
    """The answer is complete but the request's body isn't; the rest of it is read and discarded."""
    LEAVING = auto()
    """Nothing more is parsed; the client may still read what was written."""


class _RefusedError(Exception):
    """Raised in a callback to stop the parser, which reports it as a parser error."""


class _HoldingFlow(FlowControl):
    """Keeps reading paused while bytes are held.

    A running request would otherwise resume reading whenever it waits for its body.
    """

    holding = False

    def resume_reading(self) -> None:
        if not self.holding:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """One HTTP connection; ``connections`` may drop it to make room for another."""

    def __init__(self, connections: Connections, **of_uvicorn: Any) -> None:  # noqa: ANN401 - passed on
        super().__init__(**of_uvicorn)
        self._among = connections
        self._limits = connections.limits
        self._phase = _Phase.IDLE
        self._due = _NEVER
        self._unread = 0
        self._running: RequestResponseCycle | None = None
        self._held = b""
        self._ended = False
        self._head_open = self._message_open = False
        self._size = HeadSize(self._limits)
        self._unparsed = 0
        self._refusal: Refusal | None = None

    # --- the transport's calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn
        """See :class:`asyncio.Protocol`."""
        address = transport.get_extra_info("peername")
        if not self._among.admit(self, address[0] if address else None):
            self.transport = transport
            self._phase = _Phase.LEAVING
            transport.write(CROWDED.answer(self.server_state.default_headers, {"retry-after": "1"}))
            transport.close()
            return
        super().connection_made(transport)
        self.flow: _HoldingFlow = _HoldingFlow(transport)
        self._await(_Phase.IDLE, self._limits.idle_s)

    def data_received(self, data: bytes) -> None:
        """See :class:`asyncio.Protocol`."""
        if self._phase is _Phase.LEAVING:
            return
        if self._held:  # reading is paused; these bytes were already under way
            self._held += data
            return
        if self._phase is _Phase.IDLE:
            # Not by _await: a single byte mustn't move the connection to the end of the waiting
            # ones. The first of them is dropped if there is no room.
            self._phase, self._due = _Phase.HEAD, self.loop.time() + self._limits.head_s
        self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's returns None
        """Keep a half-closed connection open until its answer is written."""
        self._ended = True
        return self._owes_an_answer() and not self._is_endless()

    def pause_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        super().pause_writing()
        if self._phase is _Phase.WORK:
            self._await(_Phase.WORK, self._limits.unread_s)

    def resume_writing(self) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        super().resume_writing()
        if self._phase is _Phase.WORK:
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:
        """See :class:`asyncio.BaseProtocol`."""
        self._among.forget(self)
        self._phase, self._held = _Phase.LEAVING, b""
        self._leave_running()  # uvicorn notifies only the latest request
        super().connection_lost(exc)

    # --- the server's calls -----------------------------------------------------------------------

    def look(self, now: float) -> None:
        """See :class:`Connection`."""
        if self._phase is not _Phase.LEAVING and self.transport.is_closing():
            self._await(_Phase.LEAVING, self._limits.unread_s)
        elif now >= self._due:
            self._end_overdue(now)

    def drop(self) -> None:
        """See :class:`Connection`."""
        self.transport.abort()

    # --- the parser's calls -----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """See :class:`HttpToolsProtocol`."""
        super().on_message_begin()
        self._head_open = self._message_open = True
        self._size = HeadSize(self._limits)

    def on_url(self, url: bytes) -> None:
        """Check the length of the URL so far, and pass on this part."""
        self._stop_parsing_if(self._size.add_url(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Check the size of the head so far, and pass on a header.

        Trailers are only counted, because uvicorn would add them to the headers.
        """
        self._stop_parsing_if(self._size.add_line(name, value))
        if self._head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See :class:`HttpToolsProtocol`."""
        self._head_open = False
        self._unparsed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See :class:`HttpToolsProtocol`."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See :class:`HttpToolsProtocol`."""
        self._message_open = False
        self._unparsed = 0
        super().on_message_complete()
        if self._phase is _Phase.REST:
            self._await(_Phase.IDLE, self._limits.keep_alive_s)

    # --- the application's calls ------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Continue with what the client has sent meanwhile, or wait for more."""
        self.server_state.total_requests += 1
        self._running = None
        if self.transport.is_closing():
            self._held = b""
            self._await(_Phase.LEAVING, self._limits.unread_s)
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._head_open:
            self._await(_Phase.HEAD, self._limits.head_s)
        elif self._message_open:
            self._await(_Phase.REST, self._limits.unread_s)
        else:
            self._await(_Phase.IDLE, self._limits.keep_alive_s)
        if self._held:
            # Run outside the answered request's task, and outside its context, which has its id.
            self.loop.call_soon(self._feed_held, context=Context())
        else:
            self._read_on()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: "ASGI3Application") -> None:
        self._running = cycle
        self._work()
        super()._start_asgi_task(cycle, app)

    # --- parsing ----------------------------------------------------------------------------------

    def _feed(self, data: bytes) -> None:
        """Parse up to the end of one head at a time.

        So a complete request is noticed before the next one is parsed.
        """
        start = 0
        while start < len(data):
            if self._owes_an_answer():
                self._held = data[start:]
                self.flow.holding = True
                self.flow.pause_reading()
                return
            past = start + _BODY_STEP if self._message_open and not self._head_open else start
            end = data.find(_HEAD_END, past) + len(_HEAD_END)
            if end < len(_HEAD_END):
                end = len(data)
            if not self._parse(data[start:end]):
                return
            start = end

    def _parse(self, piece: bytes) -> bool:
        """Parse a piece of input; returns False if the request was refused."""
        self._unparsed += len(piece)
        if not self._message_open and piece.endswith(_HEAD_END):
            # The parser treats everything after an Upgrade header as another protocol, and so would
            # lose the body.
            piece = _UPGRADE.sub(_IGNORED_UPGRADE, piece, 1)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # CONNECT, or an Upgrade header cut in two: the following bytes can't be distinguished
            # from a request.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse(self._refusal or MALFORMED)
            return False
        if self._unparsed > self._limits.max_head_bytes:
            self._refuse(head_too_long(self._limits))
            return False
        return True

    def _feed_held(self) -> None:
        held, self._held = self._held, b""
        self.flow.holding = False
        if not self.transport.is_closing():
            self.data_received(held)
            if not self._held:
                self._read_on()

    def _read_on(self) -> None:
        if self._ended and not self._owes_an_answer():
            self.transport.close()
        elif self._phase is not _Phase.LEAVING:
            self.flow.resume_reading()

    def _owes_an_answer(self) -> bool:
        """Whether a completely received request is running or queued."""
        return bool(self.pipeline) or (self._running is not None and not self._running.more_body)

    def _is_endless(self) -> bool:
        from app.api.event_streams import ENDLESS

        return self._running is not None and ENDLESS in cast("dict[str, Any]", self._running.scope)["state"]

    def _stop_parsing_if(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            self._refusal = refusal
            raise _RefusedError

    # --- phases -----------------------------------------------------------------------------------

    def _work(self) -> None:
        if self.flow.write_paused:
            self._await(_Phase.WORK, self._limits.unread_s)
        else:
            self._phase, self._due = _Phase.WORK, _NEVER
            self._among.works(self)

    def _await(self, phase: _Phase, patience_s: float) -> None:
        """Wait for the client in this phase, for ``patience_s`` at most."""
        self._phase, self._due = phase, self.loop.time() + patience_s
        self._unread = self.transport.get_write_buffer_size()
        self._among.waits(self)

    def _end_overdue(self, now: float) -> None:
        unread = self.transport.get_write_buffer_size()
        match self._phase:
            case _Phase.IDLE:
                self.transport.close()
                self._await(_Phase.LEAVING, self._limits.unread_s)
            case _Phase.HEAD:
                self._refuse(head_too_slow(self._limits))
            case _ if 0 < unread < self._unread:  # the client reads, but slowly
                self._due, self._unread = now + self._limits.unread_s, unread
            case _:
                if unread:
                    patience = f"{self._limits.unread_s:g} s"
                    self._note(f"dropped a client that read nothing of its answer for {patience}")
                self.transport.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in place of the application, and read on only until the client has the answer."""
        self._note(f"refused a request: {refusal.status} {refusal.slug}")
        begun = self._running is not None and self._running.response_started
        self._leave_running()
        if begun:  # an error written now would be part of that answer
            self.transport.abort()
            return
        self.transport.write(refusal.answer(self.server_state.default_headers))
        self.transport.write_eof()
        self._await(_Phase.LEAVING, self._limits.linger_s)
        self.flow.resume_reading()

    def _leave_running(self) -> None:
        for cycle in (self._running, *(queued for queued, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self._running = None
        self.pipeline.clear()

    def _note(self, what: str) -> None:
        self._among.tally.note(what, self.client[0] if self.client else None)
