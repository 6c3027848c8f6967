"""Isolates the logging that a test configures."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

LOGGERS = ("", "app", "containers", "uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings")


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Restore everything that ``configure_logging`` changes at the end."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(each.level, each.handlers[:], each.propagate) for each in loggers]
    try:
        yield
    finally:
        for each, (level, handlers, propagate) in zip(loggers, before, strict=True):
            each.setLevel(level)
            each.handlers[:] = handlers
            each.propagate = propagate
        logging.captureWarnings(capture=False)
        structlog.reset_defaults()
