"""Conflicting transactions: both take effect within a deadline, at any isolation of the role."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.facts import fact
from support.parts import open_container
from support.postgres import open_test_engine

from app.database import Database
from app.errors import DatabaseConflict
from app.executor import BoundedExecutor


@pytest.fixture
def two_rows(postgres_engine: Engine) -> Engine:
    with postgres_engine.begin() as connection:
        connection.execute(text("CREATE TABLE pair (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
        connection.execute(text("INSERT INTO pair VALUES (1, 0), (2, 0)"))
    return postgres_engine


def database_on(engine: Engine, executor: BoundedExecutor) -> Database:
    return Database(engine, executor.lane("database", limit=8, max_waiting=100, wait_timeout_s=30))


async def test_a_deadlock_is_run_again(two_rows: Engine, executor: BoundedExecutor) -> None:
    database, tries = database_on(two_rows, executor), list[str]()
    both_hold_one = threading.Barrier(2)

    def crosswise(name: str, first: int, second: int) -> Any:
        def work(session: Session) -> None:
            tries.append(name)
            session.execute(text("UPDATE pair SET n = n + 1 WHERE id = :id"), {"id": first})
            if tries.count(name) == 1:
                both_hold_one.wait(10)
            session.execute(text("UPDATE pair SET n = n + 1 WHERE id = :id"), {"id": second})

        return work

    await asyncio.gather(database.write(crosswise("a", 1, 2)), database.write(crosswise("b", 2, 1)))
    assert len(tries) == 3
    with two_rows.connect() as connection:
        assert connection.execute(text("SELECT n FROM pair ORDER BY id")).scalars().all() == [2, 2]


async def test_what_is_not_repeatable_is_told(two_rows: Engine, executor: BoundedExecutor) -> None:
    database, tries = database_on(two_rows, executor), 0

    def work(_: Session) -> None:
        nonlocal tries
        tries += 1
        raise DatabaseConflict("in the way")

    with pytest.raises(DatabaseConflict):
        await database.write(work, repeatable=False)
    assert tries == 1
    with pytest.raises(DatabaseConflict):
        await database.write(work)
    assert tries == 6


async def test_a_role_that_is_serializable_by_default_stores_all(
    tmp_path: Path, postgres_engine: Engine
) -> None:
    name = postgres_engine.url.database
    with postgres_engine.begin() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_isolation = serializable'))
    engine = open_test_engine(postgres_engine.url.render_as_string(hide_password=False), pool_size=8)
    try:
        with engine.connect() as connection:
            assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "serializable"
        with open_container(tmp_path, engine=engine) as container:
            items = [[fact(f"doc:{n % 7}", f"text {n} {k}") for k in range(5)] for n in range(80)]
            stored = await asyncio.gather(*(container.ingestion().accept("papers", each) for each in items))
            assert sum(len(each.new) for each in stored) == 400
    finally:
        engine.dispose()
        with postgres_engine.begin() as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" RESET default_transaction_isolation'))
