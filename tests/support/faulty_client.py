"""A real Qdrant client, behind which a chosen call goes wrong."""

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


class Died(Exception):  # noqa: N818 - the process ended here, and nothing handles it
    """Stands for the end of the process: whoever sees it does nothing more."""


class When(NamedTuple):
    """Which request from now on, counted from 1, and whether it has had its effect by then."""

    call: int
    done: bool


class FaultyClient:
    """Passes every call on to ``real``, and does something else as well at one of them, once."""

    def __init__(self, real: VectorClient) -> None:
        self._real = real
        self._left = 0
        self._done = False
        self._fault: Callable[[], None] = _nothing
        self._end: Callable[[], None] = _nothing
        self._going_on = threading.Event()
        self.is_held = False

    def die(self, when: When) -> None:
        """The process ends at that call."""
        self._arrange(when, die)

    def refuse(self, when: When) -> None:
        """That call fails, for good."""
        self._arrange(when, refuse)

    def hold(self, when: When, end: Callable[[], None] | None = None) -> None:
        """That call waits for :meth:`go_on`, and has its effect at the latest then; ``end`` is what comes after."""
        self._arrange(when, self._wait)
        self._end = end or _nothing

    def go_on(self) -> None:
        """Let the call that is held go on, and let nothing go wrong any more."""
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
        assert self._going_on.wait(60.0), "nobody let it go on"
        self.is_held = False


def die() -> None:
    """What a process that ends does."""
    raise Died


def refuse() -> None:
    """What a Qdrant does that won't."""
    raise ClientFailure("it doesn't want to")


def _nothing() -> None:
    """No fault has been arranged."""
