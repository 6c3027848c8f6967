"""A real Qdrant client with a fault at a chosen call."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from app.services.storage.qdrant.ports import ClientFailure, VectorClient

_REQUESTS = frozenset(
    {
        "get_collection",
        "create_collection",
        "delete_collection",
        "upsert",
        "retrieve",
        "set_payloads",
        "delete",
        "scroll",
        "count",
    }
)


class Died(Exception):  # noqa: N818 - stands for the end of the process, not for an error
    """Stands for the end of the process; nothing handles it."""


class When(NamedTuple):
    """A future request, counted from 1, and whether the fault comes after its effect."""

    call: int
    done: bool


class FaultyClient:
    """Forwards every call to ``real``, and causes a fault at one of them, once."""

    def __init__(self, real: VectorClient) -> None:
        self._real = real
        self._left = 0
        self._done = False
        self._fault: Callable[[], None] = _nothing
        self._end: Callable[[], None] = _nothing
        self._going_on = threading.Event()
        self.is_held = False

    def die(self, when: When) -> None:
        """End the process at that call."""
        self._arrange(when, die)

    def refuse(self, when: When) -> None:
        """Let that call fail with a permanent error."""
        self._arrange(when, refuse)

    def hold(self, when: When, end: Callable[[], None] | None = None) -> None:
        """Block that call until :meth:`go_on`; ``end`` is called after it.

        If the call isn't done by then, it takes effect after :meth:`go_on`.
        """
        self._arrange(when, self._wait)
        self._end = end or _nothing

    def go_on(self) -> None:
        """Release the blocked call, and cause no more faults."""
        self._left = 0
        self._going_on.set()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return partial(self._request, real) if name in _REQUESTS else real

    def _arrange(self, when: When, fault: Callable[[], None]) -> None:
        self._left, self._done = when
        self._fault, self._end = fault, _nothing
        self._going_on.clear()

    def _request(self, real: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self._left -= 1
        chosen = self._left == 0
        if chosen and not self._done:
            self._fault()
        result = real(*args, **options)
        if chosen and self._done:
            self._fault()
        if chosen:
            self._end()
        return result

    def _wait(self) -> None:
        self.is_held = True
        assert self._going_on.wait(60.0), "go_on() was never called"
        self.is_held = False


def die() -> None:
    """End the process."""
    raise Died


def refuse() -> None:
    """Fail as a Qdrant server that rejects the request."""
    raise ClientFailure("the request is rejected")


def _nothing() -> None:
    """Cause no fault."""
