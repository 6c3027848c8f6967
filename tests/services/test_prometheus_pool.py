"""How often a connection was asked for while all were in use."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from support.postgres import open_test_engine

from app.database import CountingPool


@pytest.fixture
def pooled(database_url: str) -> Iterator[Engine]:
    """An engine with three connections at most."""
    engine = open_test_engine(database_url, pool_size=1, max_overflow=2)
    yield engine
    engine.dispose()


def waits(engine: Engine) -> int:
    assert isinstance(engine.pool, CountingPool)
    return engine.pool.waits


def test_who_finds_a_connection_does_not_wait(pooled: Engine) -> None:
    for _ in range(3):
        with ExitStack() as held:
            for _ in range(3):
                held.enter_context(pooled.connect())
    assert waits(pooled) == 0


def test_who_finds_none_waits_until_one_comes_back(pooled: Engine) -> None:
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(pooled.connect())
        threads = [threading.Thread(target=lambda: pooled.connect().close()) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(1000):
            if waits(pooled) == 4:
                break
            threading.Event().wait(0.01)
        assert waits(pooled) == 4
        assert all(thread.is_alive() for thread in threads)
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    assert waits(pooled) == 4


def test_who_waits_in_vain_is_counted_too(database_url: str) -> None:
    engine = open_test_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=0.01)
    with engine.connect(), pytest.raises(PoolTimeoutError):
        engine.connect()
    assert waits(engine) == 1
    engine.dispose()
    assert waits(engine) == 0  # a new pool
