"""Transactions on the database lane: isolation, commits, and errors."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, insert, select, text, update
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool
from support.backends import CONNECTIONS
from support.postgres import open_test_engine
from support.rows import make_project, writing

from app.database import Database, ReadSession, WriteSession
from app.domain.ids import project_id_of
from app.errors import DatabaseError, DatabaseUnavailable
from app.executor import Lane
from app.models import Project, Source
from app.services.storage.repositories.project import ProjectRepository
from app.sql import schema

pytestmark = pytest.mark.contract

MakeLane = Callable[..., Lane]
THREADS = 8
WRITES = 50

WRITER = """
import sys
from support.postgres import open_test_engine
from support.rows import make_project, writing

engine = open_test_engine(sys.argv[1])
number = 0
while True:
    with writing(engine) as session:
        make_project(session, f"p{number}")
    print(number, flush=True)
    number += 1
"""


def names(session: Session) -> list[str]:
    return list(session.scalars(select(Project.name).order_by(Project.name)))


class TestWrite:
    async def test_commits_and_returns(self, database: Database) -> None:
        assert await database.write(lambda session: make_project(session, "a")) == project_id_of("a")
        assert await database.read(names) == ["a"]

    @pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
    async def test_rolls_back_on_any_error(self, database: Database, error: type[BaseException]) -> None:
        def work(session: WriteSession) -> None:
            make_project(session, "a")
            raise error

        # On the lane's own thread, because asyncio lets an interrupt through to the event loop.
        with pytest.raises(error):
            await asyncio.to_thread(database._write, work)
        assert await database.read(names) == []

    async def test_runs_off_the_event_loop_in_one_thread(self, database: Database) -> None:
        def work(session: WriteSession) -> set[int]:
            session.execute(text("SELECT 1"))
            return {threading.get_ident()}

        assert await database.write(work) != {threading.get_ident()}

    @pytest.mark.needs(CONNECTIONS)
    async def test_gives_its_connection_back(self, database: Database) -> None:
        for _ in range(40):
            await database.write(make_project)
        assert database.engine.pool.status().endswith("Current Checked out connections: 0")


class TestRead:
    async def test_cannot_flush(self, database: Database) -> None:
        def work(session: ReadSession) -> None:
            session.add(Project(id=project_id_of("a"), name="a"))
            session.flush()

        with pytest.raises(RuntimeError, match="read-only"):
            await database.read(work)

    async def test_a_forgotten_change_is_refused(self, database: Database) -> None:
        await database.write(lambda session: make_project(session, "a"))

        def work(session: ReadSession) -> None:
            ProjectRepository(session).get("a").name = "b"

        with pytest.raises(RuntimeError, match="read-only"):
            await database.read(work)
        assert await database.read(names) == ["a"]

    async def test_cannot_write_by_statement(self, database: Database) -> None:
        with pytest.raises(DatabaseError):
            await database.read(
                lambda session: session.execute(insert(Project), {"id": project_id_of("a"), "name": "a"})
            )
        await database.write(lambda session: make_project(session, "a"))
        assert await database.read(names) == ["a"]

    async def test_objects_outlive_their_session(self, database: Database) -> None:
        await database.write(lambda session: make_project(session, "a"))
        found = await database.read(lambda session: ProjectRepository(session).get("a"))
        assert found.name == "a"


class TestPing:
    async def test_answers(self, database: Database) -> None:
        await database.ping()

    @pytest.mark.parametrize("url", ["sqlite:///{folder}", "postgresql://127.0.0.1:1/x"])
    async def test_says_that_the_database_is_out_of_reach(
        self, url: str, make_lane: MakeLane, tmp_path: Path
    ) -> None:
        engine = open_test_engine(url.format(folder=tmp_path))
        with pytest.raises(DatabaseUnavailable):
            await Database(engine, make_lane("database")).ping()
        engine.dispose()


class TestErrors:
    async def test_hold_no_values(self, database: Database) -> None:
        await database.write(lambda session: make_project(session, "confidential"))
        same = {"id": project_id_of("other"), "name": "confidential"}
        with pytest.raises(DatabaseError) as caught:
            await database.write(lambda session: session.execute(insert(Project), same))
        assert "confidential" not in str(caught.value)
        assert "nique" in str(caught.value) or "UNIQUE" in str(caught.value)
        assert not caught.value.retryable

    async def test_of_ours_pass_through(self, database: Database) -> None:
        error = DatabaseError("ours")

        def work(_session: WriteSession) -> None:
            raise error

        with pytest.raises(DatabaseError) as caught:
            await database.write(work)
        assert caught.value is error

    async def test_an_exhausted_pool_is_unavailable(self, sqlite_url: str, make_lane: MakeLane) -> None:
        engine = open_test_engine(sqlite_url, pool_size=1, max_overflow=0, pool_timeout=0.05)
        with engine.connect(), pytest.raises(DatabaseUnavailable, match="in use"):
            await Database(engine, make_lane("database")).ping()
        engine.dispose()

    async def test_foreign_keys_hold(self, database: Database) -> None:
        lost = {"id": project_id_of("a"), "project_id": project_id_of("nobody"), "uri": "file:a"}
        with pytest.raises(DatabaseError):
            await database.write(lambda session: session.execute(insert(Source), lost))


class TestConcurrency:
    @pytest.mark.slow
    @pytest.mark.needs(CONNECTIONS)
    async def test_many_writers_never_find_it_locked(self, database: Database) -> None:
        """Each reads before it writes, which a transaction that begins late can't do."""

        def append(session: WriteSession) -> None:
            (project,) = session.scalars(select(Project).with_for_update())
            session.execute(update(Project).values(name=str(int(project.name) + 1)))

        await database.write(lambda session: session.add(Project(id=project_id_of("counter"), name="0")))
        await asyncio.gather(*(database.write(append) for _ in range(THREADS * WRITES)))
        assert await database.read(names) == [str(THREADS * WRITES)]

    @pytest.mark.slow
    def test_writers_of_several_engines_never_find_it_locked(self, sqlite_url: str) -> None:
        """As processes do, they share the file and nothing else."""

        def write(thread: int) -> None:
            engine = open_test_engine(sqlite_url)
            for number in range(WRITES):
                with writing(engine) as session:
                    session.scalar(select(Project.name).limit(1))
                    make_project(session, f"p{thread}-{number}")
            engine.dispose()

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(write, range(THREADS)))
        engine = open_test_engine(sqlite_url)
        with ReadSession(engine) as session:
            assert len(names(session)) == THREADS * WRITES
        engine.dispose()

    @pytest.mark.needs(CONNECTIONS)
    async def test_a_writer_blocks_no_reader(self, database: Database) -> None:
        written, seen = threading.Event(), threading.Event()

        def write(session: WriteSession) -> bool:
            make_project(session, "a")
            written.set()
            return seen.wait(10)

        writer = asyncio.create_task(database.write(write))
        await asyncio.to_thread(written.wait, 10)
        assert await database.read(names) == []
        seen.set()
        assert await writer
        assert await database.read(names) == ["a"]

    @pytest.mark.needs(CONNECTIONS)
    async def test_a_reader_keeps_its_view(self, database: Database) -> None:
        looked, changed = threading.Event(), threading.Event()

        def read(session: ReadSession) -> tuple[list[str], list[str]]:
            before = names(session)
            looked.set()
            changed.wait(10)
            return before, names(session)

        reader = asyncio.create_task(database.read(read))
        await asyncio.to_thread(looked.wait, 10)
        await database.write(lambda session: make_project(session, "a"))
        changed.set()
        assert await reader == ([], [])


class TestDurability:
    @pytest.mark.slow
    def test_a_killed_process_loses_no_committed_row(self, database_url: str) -> None:
        path = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]
        with subprocess.Popen(  # our own program
            [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{WRITER}", database_url],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            told = [int(next(process.stdout)) for _ in range(50)]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout if line.endswith("\n")]
        engine = open_test_engine(database_url)
        with ReadSession(engine) as session:
            found = set(names(session))
        engine.dispose()
        assert {f"p{number}" for number in told} <= found
        assert len(found) <= len(told) + 1

    def test_sqlite_is_set_up_to_keep_what_it_commits(self, sqlite_engine: Engine) -> None:
        with writing(sqlite_engine) as session:
            values = {name: session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous")}
        assert values == {"journal_mode": "wal", "synchronous": 2}


class TestTimestamps:
    @pytest.mark.parametrize(
        "moment",
        [
            datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC),
            datetime(2024, 10, 27, 2, 30, 0, 1, tzinfo=ZoneInfo("Europe/Berlin"), fold=0),
            datetime(2024, 10, 27, 2, 30, 0, 1, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
            datetime(2024, 7, 1, 0, 15, tzinfo=timezone(timedelta(hours=5, minutes=45))),
            datetime(1969, 12, 31, 12, 0, 0, 500_000, tzinfo=timezone(timedelta(hours=-12))),
        ],
    )
    async def test_come_back_as_the_same_instant_in_utc(self, database: Database, moment: datetime) -> None:
        row = {"id": project_id_of("a"), "name": "a", "created_at": moment}
        await database.write(lambda session: session.execute(insert(Project), row))
        found = await database.read(lambda session: ProjectRepository(session).get("a").created_at)
        assert found == moment.astimezone(UTC)
        assert found.tzinfo is UTC

    async def test_without_a_timezone_are_refused(self, database: Database) -> None:
        row = {"id": project_id_of("a"), "name": "a", "created_at": datetime(2024, 1, 1)}  # noqa: DTZ001 - a naive time is tested
        with pytest.raises(DatabaseError):
            await database.write(lambda session: session.execute(insert(Project), row))


class TestOpenEngine:
    def test_makes_the_folder_of_a_sqlite_file(self, tmp_path: Path) -> None:
        engine = open_test_engine(f"sqlite:///{tmp_path / 'new' / 'folder' / 'a.db'}")
        schema.upgrade(engine)
        engine.dispose()
        assert (tmp_path / "new" / "folder" / "a.db").is_file()

    def test_connects_to_nothing(self) -> None:
        engine = open_test_engine("postgresql://127.0.0.1:1/x")
        assert isinstance(engine.pool, QueuePool)
        assert (engine.pool.checkedin(), engine.pool.checkedout()) == (0, 0)
        engine.dispose()

    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
    async def test_in_memory_all_threads_share_one_database(self, url: str, make_lane: MakeLane) -> None:
        engine = open_test_engine(url)
        schema.upgrade(engine)
        database = Database(engine, make_lane("database", limit=1))
        await asyncio.gather(*(database.write(partial(make_project, name=f"p{number}")) for number in range(9)))
        assert len(await database.read(names)) == 9
        engine.dispose()

    def test_a_postgres_session_is_in_utc(self, postgres_engine: Engine) -> None:
        with postgres_engine.connect() as connection:
            assert connection.scalar(text("SHOW timezone")) == "UTC"
