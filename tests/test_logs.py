import asyncio
import io
import json
import logging
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import structlog
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from structlog.contextvars import bind_contextvars, bound_contextvars
from support.cli import ROOT, environment
from support.logs import logging_as_before

from app.executor import Lane
from app.logs import configure_logging
from app.settings.masking import MASK

SECRET = "hunter2"  # noqa: S105 - of nothing
URL = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:9/x?connect_timeout=2"

logger = logging.getLogger("app.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    with logging_as_before():
        yield


class Log(io.StringIO):
    """A stream that is no terminal, and what was logged to it."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    @property
    def line(self) -> dict[str, Any]:
        (line,) = self.lines
        return line


@pytest.fixture
def log() -> Log:
    stream = Log()
    configure_logging("INFO", stream=stream)
    return stream


# --- one line -------------------------------------------------------------------------------------


def test_a_line_is_one_json_object(log: Log) -> None:
    logger.info("%d extractions\nin %s", 3, "papers")
    assert list(log.line) == ["timestamp", "level", "logger", "event"]
    assert log.line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "logger": "app.test",
        "event": "3 extractions\nin papers",
    }
    written = datetime.fromisoformat(log.line["timestamp"])
    assert written.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)


def test_an_exception_is_text_in_the_one_line(log: Log) -> None:
    try:
        int("wrong")
    except ValueError:
        logger.exception("failed")
    assert log.line["event"] == "failed"
    assert log.line["exception"].startswith("Traceback (most recent call last):\n")
    assert log.line["exception"].endswith("ValueError: invalid literal for int() with base 10: 'wrong'")


def test_the_stack_is_text_in_the_one_line(log: Log) -> None:
    logger.info("here", stack_info=True)
    structlog.get_logger("app.test").info("here", stack_info=True)
    standard, structured = log.lines
    assert "test_the_stack_is_text" in standard["stack_info"]
    assert "test_the_stack_is_text" in structured["stack"]


def test_loggers_of_structlog_write_the_same_lines(log: Log) -> None:
    structlog.get_logger("app.test").info("%s stored", "one", number=3, who=UUID(int=1))
    structlog.get_logger("app.test").debug("not heard")
    assert log.line | {"timestamp": ""} == {
        "timestamp": "",
        "level": "info",
        "logger": "app.test",
        "event": "one stored",
        "number": 3,
        "who": str(UUID(int=1)),
    }


@pytest.mark.parametrize("value", ["\udcff", 10**30, -(2**70), {"a": ["\udcff", {"b": 2**64}]}])
def test_what_orjson_refuses_is_written_nevertheless(value: object, log: Log) -> None:
    with bound_contextvars(value=value):
        logger.info("x")
    assert log.line["value"] == value


def test_a_value_that_is_no_number_is_null(log: Log) -> None:
    with bound_contextvars(value=float("nan")):
        logger.info("x")
    assert log.line["value"] is None


def test_python_warnings_are_logged(log: Log) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("mind this", stacklevel=1)
    assert (log.line["level"], log.line["logger"]) == ("warning", "py.warnings")
    assert "UserWarning: mind this" in log.line["event"]


def test_configured_twice_writes_once() -> None:
    first, second = Log(), Log()
    configure_logging("INFO", stream=first)
    configure_logging("INFO", stream=second)
    logger.info("x")
    assert (first.lines, second.line["event"]) == ([], "x")


# --- who is heard ---------------------------------------------------------------------------------

HEARD = {
    "DEBUG": {"app.x": "debug", "containers": "debug", "httpx2": "warning", "uvicorn.error": "info"},
    "INFO": {"app.x": "info", "containers": "info", "httpx2": "warning", "uvicorn.error": "info"},
    "WARNING": {"app.x": "warning", "containers": "warning", "httpx2": "warning", "uvicorn.error": "warning"},
    "ERROR": {"app.x": "error", "containers": "error", "httpx2": "error", "uvicorn.error": "error"},
    "CRITICAL": dict.fromkeys(("app.x", "containers", "httpx2", "uvicorn.error"), "critical"),
}


@pytest.mark.parametrize("level", HEARD)
def test_each_logger_is_heard_from_its_level_on(level: str) -> None:
    log = Log()
    configure_logging(level, stream=log)
    for name in (*HEARD[level], "uvicorn.access"):
        for each in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            logging.getLogger(name).log(each, "x")
    quietest: dict[str, str] = {}
    for line in log.lines:
        quietest.setdefault(line["logger"], line["level"])
    assert quietest == HEARD[level]


# --- context --------------------------------------------------------------------------------------


async def test_what_is_bound_reaches_the_threads_of_a_lane(log: Log, make_lane: Callable[..., Lane]) -> None:
    lane = make_lane("database")

    async def work(number: int) -> None:
        bind_contextvars(job_id=f"job {number}", attempt=number)
        await lane.run(logger.info, "on a thread")
        await asyncio.create_task(_say("in a task"))

    with bound_contextvars(request_id="r"):
        await asyncio.gather(*(work(number) for number in range(20)))
    logger.info("after")
    *within, after = log.lines
    seen = sorted((line["event"], line["attempt"], line["job_id"], line["request_id"]) for line in within)
    assert seen == [
        (event, number, f"job {number}", "r") for event in ("in a task", "on a thread") for number in range(20)
    ]
    assert list(after) == ["timestamp", "level", "logger", "event"]


async def _say(event: str) -> None:
    logger.info(event)


# --- secrets --------------------------------------------------------------------------------------


def test_a_password_in_an_exception_is_masked(log: Log) -> None:
    def connect() -> None:
        try:
            create_engine(URL, hide_parameters=True).connect()
        except OperationalError as error:
            raise RuntimeError(f"can't reach {URL} (password='{SECRET}')") from error

    try:
        connect()
    except RuntimeError:
        logger.exception("no database at %s", URL)
    assert SECRET not in log.getvalue()
    assert log.line["event"] == f"no database at {URL.replace(SECRET, MASK)}"
    assert f"RuntimeError: can't reach {URL.replace(SECRET, MASK)} (password={MASK}" in log.line["exception"]
    assert "OperationalError" in log.line["exception"]


def test_secrets_in_values_are_masked(log: Log) -> None:
    structlog.get_logger("app.test").info(
        "opened",
        url=URL,
        api_key=SECRET,
        token=None,
        given={"password": [SECRET], "urls": (URL, f"https://{SECRET}@cloud"), "ok": True},
        error=ValueError(f"Authorization: Bearer {SECRET}"),
        port=80,
    )
    assert SECRET not in log.getvalue()
    assert (log.line["api_key"], log.line["token"], log.line["port"]) == (MASK, None, 80)
    assert log.line["given"]["urls"][1] == f"https://{MASK}@cloud"
    assert log.line["given"]["ok"] is True


# --- a process ------------------------------------------------------------------------------------

PROGRAM = f"""
import logging
from app.logs import configure_logging
from structlog.contextvars import bound_contextvars
configure_logging("INFO")
with bound_contextvars(request_id="r1"):
    try:
        raise ValueError({URL!r})
    except ValueError:
        logging.getLogger("app.x").exception("failed")
"""


def _run(stderr: int, **extra: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(
        command,
        env=environment(**extra),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=True,
        timeout=60,
    )


def _on_terminal(**extra: str) -> str:
    ours, theirs = pty.openpty()
    try:
        done = _run(theirs, **extra)
        shown = os.read(ours, 65_536).decode()
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.stdout == b""
    return shown


def test_a_process_writes_json_to_a_pipe() -> None:
    done = _run(subprocess.PIPE)
    (line,) = done.stderr.splitlines()
    assert (done.stdout, json.loads(line)["request_id"]) == (b"", "r1")
    assert SECRET not in line.decode()


def test_a_process_writes_for_people_on_a_terminal() -> None:
    shown = _on_terminal(NO_COLOR="1").splitlines()
    assert datetime.fromisoformat(shown[0].split()[0]).utcoffset() == timedelta(0)
    assert shown[0].split()[1:] == ["[error", "]", "failed", "[app.x]", "request_id=r1"]
    assert shown[1] == "Traceback (most recent call last):"
    assert shown[-1] == f"ValueError: {URL.replace(SECRET, MASK)}"


@pytest.mark.slow
def test_a_terminal_gets_colours_unless_it_wants_none() -> None:
    assert "\x1b[" in _on_terminal(NO_COLOR="", TERM="xterm")
    assert "\x1b[" not in _on_terminal(NO_COLOR="1", TERM="xterm")


def test_importing_sets_up_nothing_and_loads_no_structlog() -> None:
    code = "import sys, logging, app.logs; print(logging.getLogger().handlers, 'structlog' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] False\n"
