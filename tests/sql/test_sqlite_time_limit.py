"""A statement on SQLite that only reads is ended when its time is up, and in words."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from app.database import ReadSession, WriteSession, open_engine
from app.errors import DatabaseTimeout
from app.settings.sections import DatabaseSettings
from app.sql.errors import translated_errors

_SLOW = text(
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < :most) SELECT count(*) FROM n"
)
_ENDLESS, _SHORT = {"most": 10**12}, {"most": 3_000_000}


@pytest.fixture(params=["file", "memory"])
def engine(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Engine]:
    url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path / 'a.db'}"
    engine = open_engine(DatabaseSettings(url=url, statement_timeout=0.5))
    yield engine
    engine.dispose()


def test_a_statement_that_takes_too_long_is_ended(engine: Engine) -> None:
    started = time.monotonic()
    told = r"a statement ran for longer than 0\.5 s \(database\.statement_timeout\)"
    with (
        pytest.raises(DatabaseTimeout, match=told) as caught,
        translated_errors(engine),
        ReadSession(engine) as session,
    ):
        session.scalar(_SLOW, _ENDLESS)
    assert caught.value.retryable
    assert time.monotonic() - started > 0.4


def test_the_connection_goes_on_afterwards_and_each_statement_has_its_own_time(engine: Engine) -> None:
    with pytest.raises(DatabaseTimeout), ReadSession(engine) as session:
        session.scalar(_SLOW, _ENDLESS)
    with ReadSession(engine) as session:
        for _ in range(2):
            assert session.scalar(text("SELECT 1")) == 1
            time.sleep(0.3)
        assert session.scalar(text("SELECT 1")) == 1


def test_reading_the_rows_counts_too(engine: Engine) -> None:
    rows = text("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n")
    with pytest.raises(DatabaseTimeout), ReadSession(engine) as session:
        for _ in session.execute(rows.execution_options(yield_per=1_000)):
            pass


def test_what_writes_may_take_longer(engine: Engine) -> None:
    with WriteSession(engine) as session:
        started = time.monotonic()
        while time.monotonic() - started < 1.0:
            assert session.scalar(_SLOW, _SHORT) == 3_000_000
        assert session.scalar(_SLOW, {"most": 12_000_000}) == 12_000_000
