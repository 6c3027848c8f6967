"""Reading what another server answers over HTTP: it decides neither how long that gets, nor how long it takes."""

import time
from collections.abc import Iterable
from urllib.parse import urlsplit


class AnswerTooLongError(Exception):
    """An answer has more bytes than were asked for, once it is decompressed."""


class AnswerTooSlowError(Exception):
    """An answer doesn't end in its time, however regularly some of it comes."""


def read_within(pieces: Iterable[bytes], *, most_bytes: int, until: float) -> bytes:
    """The body that comes in ``pieces``, of which no more is kept than ``most_bytes`` and one piece.

    ``until`` is a moment of :func:`time.monotonic`.

    Raises:
        AnswerTooLongError: there is more.
        AnswerTooSlowError: the moment has passed.
    """
    kept: list[bytes] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most_bytes:
            raise AnswerTooLongError
        if time.monotonic() > until:
            raise AnswerTooSlowError
        kept.append(piece)
    return b"".join(kept)


def redirect_target(location: str) -> str:
    """Where a redirect leads, by scheme, host and port alone: the rest of a URL may hold secrets."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "what is no address"
    if not host or not host.isprintable():
        return "another path of its own"
    name = f"[{host}]" if ":" in host else host[:255]
    return f"{parts.scheme or 'http'}://{name}{'' if port is None else f':{port}'}"
