"""SIGTERM and Ctrl-C: the first one stops a service gracefully, the second ends it at once."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from app.exit_codes import OF_SIGNAL

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def on_stop_signal(stop: Callable[[], object]) -> None:
    """Call ``stop`` on the event loop at the first signal; the next one ends the process at once.

    That is safe: accepted data is on disk, and the process's leases expire.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def receive(number: signal.Signals) -> None:
        nonlocal asked
        if asked:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
            os._exit(OF_SIGNAL + number)
        asked = True
        logger.info("stopping on %s; send it again to end at once", number.name)
        stop()

    for number in _SIGNALS:
        loop.add_signal_handler(number, receive, number)
