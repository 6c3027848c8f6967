"""SIGTERM and Ctrl-C: the first asks a service to stop, the second ends it at once."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_EXIT_OF_SIGNAL = 128


def on_stop_signal(stop: Callable[[], object]) -> None:
    """Call ``stop`` on the running event loop at the first signal; the next one ends the process there and then.

    What the process has accepted is on disk by then, and its leases run out by themselves.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def receive(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
            os._exit(_EXIT_OF_SIGNAL + number)
        asked = True
        logger.info("stopping on %s; once more ends at once", number.name)
        stop()

    for number in _SIGNALS:
        loop.add_signal_handler(number, receive, number)
