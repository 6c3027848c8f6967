"""An answer with a list that may be long: spooled to disk if it is, and sent in pieces."""

from collections.abc import AsyncIterator, Mapping, Sequence
from tempfile import SpooledTemporaryFile

import orjson
from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.executor import Lane

_IN_MEMORY_BYTES = 4 * 2**20
_PIECE_BYTES = 256 * 2**10


class SpooledAnswer:
    """JSON whose first member is a list, written incrementally. For one thread at a time."""

    def __init__(self, member: str) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - `close` does
        self._file.write(b'{"%b":[' % member.encode())
        self._is_empty = True

    def add(self, items: Sequence[object]) -> None:
        """Add to the list."""
        separator = b"," if items and not self._is_empty else b""
        self._file.write(separator + orjson.dumps(items)[1:-1])
        self._is_empty = self._is_empty and not items

    def finish(self, rest: Mapping[str, object]) -> tuple[int, bytes | None]:
        """Write the other members, and rewind.

        Return the size in bytes, and the whole body if it fits into memory.
        """
        self._file.write(b"]," + orjson.dumps(rest)[1:])
        size = self._file.tell()
        self._file.seek(0)
        return size, self.read(size) if size <= _IN_MEMORY_BYTES else None

    def read(self, size: int) -> bytes:
        """Read the next bytes; empty at the end."""
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def response(self, size: int, body: bytes | None, lane: Lane, status: int = 202) -> Response:
        """Make the response from what :meth:`finish` returned."""
        if body is None:
            return _Pieces(self, lane, size, status)
        self.close()
        return Response(body, status, media_type="application/json")


class _Pieces(StreamingResponse):
    """An answer sent in pieces. Its file is closed even if the client disconnects."""

    def __init__(self, answer: SpooledAnswer, lane: Lane, size: int, status: int) -> None:
        self._answer = answer
        self._lane = lane
        super().__init__(self._pieces(), status, {"content-length": str(size)}, "application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See :class:`StreamingResponse`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.close()

    async def _pieces(self) -> AsyncIterator[bytes]:
        while piece := await self._lane.run(self._answer.read, _PIECE_BYTES, exempt_from_max_waiting=True):
            yield piece
