"""Work on a thread that reports its progress and can be stopped."""

import threading
from collections.abc import Callable

Report = Callable[[str, int, int], object]
"""Called on the work's thread with the step's name, how much is done, and the total."""


class Stopped(Exception):  # noqa: N818 - not an error, and no caller is left to see it
    """The work was stopped, and has left no files behind."""


class Work:
    """The state of some work. ``stop`` is thread-safe; the rest is for the work's thread."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the work when it next reports its progress."""
        self._stopping.set()

    def is_stopped(self) -> bool:
        """Whether the work should end."""
        return self._stopping.is_set()

    def step(self, name: str) -> Callable[[int, int], None]:
        """The function to which a step reports how much is done, and the total.

        It raises :class:`Stopped` if the work should end.
        """

        def advance(done: int, total: int) -> None:
            self._report(name, done, total)
            if self._stopping.is_set():
                raise Stopped

        return advance
