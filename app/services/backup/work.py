"""Work on a thread that reports its progress, and ends when it is cancelled."""

import threading
from collections.abc import Callable

Report = Callable[[str, int, int], object]
"""Is told, on the thread of the work, which step is at how many of how many."""


class Stopped(Exception):  # noqa: N818 - it is no error, and no caller is left to see it
    """The work was told to stop; it has left nothing behind."""


class Work:
    """One work. ``stop`` may be called from any thread; the work itself calls the rest."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the work where it next tells how it goes on."""
        self._stopping.set()

    def is_stopped(self) -> bool:
        """Whether to end."""
        return self._stopping.is_set()

    def step(self, name: str) -> Callable[[int, int], None]:
        """What a step tells its progress to: how many are done, and how many there are.

        It raises :class:`Stopped` where the work is to end.
        """

        def advance(done: int, total: int) -> None:
            self._report(name, done, total)
            if self._stopping.is_set():
                raise Stopped

        return advance
