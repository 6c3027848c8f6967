"""The exit codes of processes that a signal ends, as shells report them."""

import signal

OF_SIGNAL = 128
"""The exit code of a process that a signal ended is this and the signal's number."""

INTERRUPTED = OF_SIGNAL + signal.SIGINT
