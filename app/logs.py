"""The log of a service: readable lines on a terminal, else one JSON object per line.

Modules log with ``logging.getLogger(__name__)``. Values bound with ``structlog.contextvars`` (a
request's id, a job's id and attempt) are in every line logged in that context, including tasks and
the executor's threads, which run in copies of it. Secrets are masked here, for all loggers. The
text of an extraction or a query must never be logged.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from app.settings.masking import MASK, is_secret_name, masked_text

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_OURS = ("app", "containers")
_FIRST = ("timestamp", "level", "logger", "event")


def configure_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Write this process's log to ``stream``, or to standard error, from ``level`` on.

    Libraries log from WARNING on, and uvicorn's server from INFO on; uvicorn's access log is off.
    This replaces all existing handlers, and captures Python's warnings. Start uvicorn with
    ``log_config=None``, or it sets up its own logging.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_formatter(terminal=handler.stream.isatty()))
    logging.getLogger().handlers[:] = [handler]
    logging.captureWarnings(capture=True)
    _set_levels(logging.getLevelNamesMapping()[level])
    _configure_structlog()


def _set_levels(level: int) -> None:
    logging.getLogger().setLevel(max(level, logging.WARNING))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    logging.getLogger("uvicorn.error").setLevel(max(level, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    # The API logs requests on its own, with their ids and without query strings.
    logging.getLogger("uvicorn.access").setLevel(logging.CRITICAL + 1)


# --- rate limit for events that clients cause -----------------------------------------------------


class Tally:
    """Rate-limits log lines that any client can cause.

    The first event of a kind is logged at once. Later ones are logged in one line every ``every_s``
    seconds, with their count.
    """

    def __init__(self, logger: logging.Logger, every_s: float = 10.0) -> None:
        self._logger = logger
        self._every_s = every_s
        self._kinds: dict[str, _Count] = {}

    def note(self, what: str, client: str | None) -> None:
        """Log an event, or count it until the next line is due. ``what`` is one of few texts."""
        count = self._kinds.setdefault(what, _Count())
        count.times += 1
        count.client = client
        self._log_if_due(what, count, time.monotonic())

    def look(self) -> None:
        """Log the counted events that are due."""
        now = time.monotonic()
        for what, count in self._kinds.items():
            self._log_if_due(what, count, now)

    def _log_if_due(self, what: str, count: "_Count", now: float) -> None:
        if count.times and now >= count.due:
            self._logger.warning("%s", what, extra={"times": count.times, "last_client": count.client})
            count.times, count.due = 0, now + self._every_s


@dataclass(slots=True)
class _Count:
    times: int = 0
    client: str | None = None
    due: float = float("-inf")


# --- formatting -----------------------------------------------------------------------------------


def _formatter(*, terminal: bool) -> logging.Formatter:
    from structlog.dev import ConsoleRenderer, plain_traceback  # noqa: PLC0415 - only a service needs it
    from structlog.processors import format_exc_info  # noqa: PLC0415 - likewise
    from structlog.stdlib import ProcessorFormatter  # noqa: PLC0415 - likewise

    render: Processor = _as_json
    if terminal:
        # structlog's richer tracebacks would show the values of variables.
        render = ConsoleRenderer(
            colors=not os.environ.get("NO_COLOR"), exception_formatter=plain_traceback, sort_keys=False
        )
    last: list[Processor] = [ProcessorFormatter.remove_processors_meta, format_exc_info, _masked, render]
    return ProcessorFormatter(foreign_pre_chain=_what_every_line_has(), processors=last)


def _what_every_line_has() -> "list[Processor]":
    from structlog.contextvars import merge_contextvars  # noqa: PLC0415 - likewise
    from structlog.processors import TimeStamper  # noqa: PLC0415 - likewise
    from structlog.stdlib import ExtraAdder, add_log_level, add_logger_name  # noqa: PLC0415 - likewise

    # uvicorn adds each message a second time, with colour codes.
    return [
        merge_contextvars,
        ExtraAdder(),
        _without("color_message"),
        add_logger_name,
        add_log_level,
        TimeStamper(fmt="iso", utc=True),
    ]


def _without(name: str) -> "Processor":
    def drop(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
        event.pop(name, None)
        return event

    return drop


def _configure_structlog() -> None:
    """Make structlog's own loggers write through the same handler."""
    import structlog  # noqa: PLC0415 - likewise

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_what_every_line_has(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _as_json(_logger: "WrappedLogger", _method: str, event: "EventDict") -> str:
    import orjson  # noqa: PLC0415 - likewise

    ordered = {name: event[name] for name in _FIRST if name in event} | dict(event)
    try:
        return orjson.dumps(ordered).decode()
    except TypeError:  # lone surrogates, integers above 64 bits
        return json.dumps(ordered)


# --- secrets --------------------------------------------------------------------------------------


def _masked(_logger: "WrappedLogger", _method: str, event: "EventDict") -> "EventDict":
    return {name: _masked_value(name, value) for name, value in event.items()}


def _masked_value(name: str, value: object) -> Any:  # noqa: ANN401 - JSON
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name):
        return MASK
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _masked_value(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked_value(name, item) for item in value]
    return masked_text(str(value))
