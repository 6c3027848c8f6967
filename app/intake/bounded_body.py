"""Reads HTTP responses of other servers with a limit on their size and their time."""

import time
from collections.abc import Iterable
from urllib.parse import urlsplit


class AnswerTooLongError(Exception):
    """A response has more bytes than allowed, after decompression."""


class AnswerTooSlowError(Exception):
    """A response didn't end before its deadline, even if data kept arriving."""


def read_within(pieces: Iterable[bytes], *, most_bytes: int, until: float) -> bytes:
    """Join the pieces of a body; never hold more than ``most_bytes`` and one piece.

    ``until`` is a deadline on the clock of :func:`time.monotonic`.

    Raises:
        AnswerTooLongError: the body is longer.
        AnswerTooSlowError: the deadline has passed.
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
    """Return the scheme, host and port of a redirect; the rest of the URL may hold secrets."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an invalid address"
    if location and not parts.scheme and not parts.netloc:
        return "another path on the same server"
    if not host or not host.isprintable():
        return "an invalid address"
    name = f"[{host}]" if ":" in host else host[:255]
    return f"{parts.scheme or 'http'}://{name}{'' if port is None else f':{port}'}"
