"""``agent-storage jobs``, on local stores and on those of a service."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update
from support.cli import Cli
from support.jobs import queue_jobs, statuses
from support.postgres import open_test_engine
from support.processes import serve_process
from support.rows import writing

from app.domain.ids import project_id_of
from app.domain.jobs import JobStatus
from app.models import Job, utc_now
from app.services.storage.repositories.job import JobRepository

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Place:
    """The commands, with ``--api`` for a service, and the database behind them."""

    cli: Cli
    api: tuple[str, ...]
    engine: Engine

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What a command said, on standard output and then on standard error, on one line."""
        done = self.cli("jobs", *arguments, *self.api, code=code)
        return " ".join((done.stdout + done.stderr).decode().replace("│", " ").split())

    def json(self, *arguments: str) -> Any:
        return self.cli.json("jobs", *arguments, *self.api)

    def listed(self, *arguments: str) -> list[str]:
        return [job["id"] for job in self.json("list", *arguments)["items"]]

    def queue(self, job_type: str = "embed", **columns: object) -> str:
        """The id of a new job, with ``columns`` set to these values."""
        [job] = queue_jobs(self.engine, job_type)
        if columns:
            with writing(self.engine) as session:
                session.execute(update(Job).where(Job.id == job).values(columns))
        return str(job)


@contextmanager
def engine_of(folder: Path) -> Iterator[Engine]:
    engine = open_test_engine(f"sqlite:///{folder / 'data' / 'agent-storage.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(params=["here", "there"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """No worker runs, so that jobs stay as a test makes them."""
    stores = Cli(tmp_path)
    if request.param == "here":
        stores("db", "upgrade")
        with engine_of(tmp_path) as engine:
            yield Place(stores, (), engine)
        return
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with serve_process(tmp_path, {}, workers=0) as service, engine_of(tmp_path) as engine:
        yield Place(Cli(elsewhere), ("--api", service.url), engine)
    assert not list(elsewhere.iterdir()), "a command that uses a service opens no stores of its own"


def test_jobs_are_listed_the_newest_first_and_by_filters(place: Place) -> None:
    assert "No jobs" in place("list")
    assert place.json("list") == {"items": [], "more": False}
    papers = project_id_of("papers")
    first = place.queue("embed", project_id=papers)
    second = place.queue("verify", status=JobStatus.FAILED, error="no luck", project_id=papers)
    third = place.queue("embed", status=JobStatus.RUNNING, attempt=3, failures=2, done=5, total=1_000)
    assert place.listed() == [third, second, first]
    assert place.listed("--limit", "2") == [third, second]
    assert place.listed("--type", "embed") == [third, first]
    assert place.listed("--type", "embed", "--type", "verify") == [third, second, first]
    assert place.listed("--status", "failed", "--status", "queued") == [second, first]
    assert place.listed("--project", "papers") == [second, first]
    assert place.listed("--project", "papers", "--type", "verify", "--status", "queued") == []
    assert place.listed("--project", "nowhere") == []
    table = place("list")
    assert f"{third} embed running 5/1,000 3 (2 failed)" in table
    assert "no luck" in table
    assert f"{first} embed queued 0 " in table


def test_a_long_error_is_cut_in_the_list_and_shown_whole_by_show(place: Place) -> None:
    error = "it went wrong \x1b[31m" + "and wrong again " * 20
    job = place.queue(status=JobStatus.FAILED, error=error)
    table = place("list")
    assert job in table
    assert "…" in table
    shown = place("show", job)
    assert shown.count("and wrong again") == 20
    assert "\x1b" not in table + shown
    assert place.json("show", job)["error"] == error


def test_a_job_is_shown_with_all_that_is_known_of_it(place: Place) -> None:
    job = place.queue("embed", result={"indexed": 7}, done=7, total=9, status=JobStatus.COMPLETED, attempt=2)
    told = place.json("show", job)
    assert told["progress"] == {"done": 7, "total": 9}
    assert {key: told[key] for key in ("id", "type", "status", "attempts", "failures", "result", "error")} == {
        "id": job,
        "type": "embed",
        "status": "completed",
        "attempts": 2,
        "failures": 0,
        "result": {"indexed": 7},
        "error": None,
    }
    assert list(told) == list(place.json("list")["items"][0])
    shown = place("show", job)
    for part in (job, "completed", "7/9", "indexed 7"):
        assert part in shown


def test_a_job_is_cancelled_and_tried_again(place: Place) -> None:
    job = place.queue()
    assert f"Job {job} is cancelled." in place("cancel", job)
    assert f"job {job} is cancelled, so it can't be cancelled" in place("cancel", job, code=1)
    assert f"Job {job} is queued." in place("retry", job)
    running = place.queue(status=JobStatus.RUNNING)
    assert place.json("cancel", running)["status"] == "cancelling"
    assert f"job {running} is cancelling, so it can't be retried" in place("retry", running, code=1)
    failed = place.queue(status=JobStatus.FAILED, failures=10)
    assert place.json("retry", failed)["failures"] == 0


def test_a_job_that_is_not_there_is_told(place: Place) -> None:
    nobody = str(uuid.uuid4())
    for command in ("show", "cancel", "retry"):
        assert f"no job '{nobody}'" in place(command, nobody, code=1)
        assert "'7' isn't a job's id" in place(command, "7", code=2)


def test_jobs_that_ended_are_pruned_by_age(place: Place) -> None:
    for days in (1, 3, 8, 40):
        moment = utc_now() - timedelta(days=days)
        place.queue(status=JobStatus.COMPLETED, completed_at=moment)
    place.queue()
    assert place.json("prune", "--older-than", "30d") == {"pruned": 1, "older_than_seconds": 30 * 86_400.0}
    assert "Deleted 1 job that ended more than 7 d ago." in place("prune")
    place.cli.environment["WORKER_KEEP_FINISHED"] = str(2 * 86_400)
    assert place.json("prune")["pruned"] == 1
    assert place.json("prune", "--older-than", "25h")["pruned"] == 0
    assert place.json("prune", "--older-than", "90s")["pruned"] == 1
    assert statuses(place.engine) == {"queued": 1}


@pytest.mark.parametrize("wrong", ["7", "d", "-1d", "7 days", "1e3s", "99999d", ""])
def test_a_duration_that_is_none_is_a_usage_error(tmp_path: Path, wrong: str) -> None:
    error = Cli(tmp_path)("jobs", "prune", f"--older-than={wrong}", code=2).stderr.decode()
    assert "--older-than" in error
    assert not list(tmp_path.iterdir())


def test_a_type_is_paused_and_resumed(place: Place) -> None:
    assert "Paused: embed." in place("pause", "embed")
    assert place.json("pause", "verify") == {"paused": ["embed", "verify"]}
    with writing(place.engine) as session:
        assert JobRepository(session).paused() == ["embed", "verify"]
    assert place.json("resume", "embed") == {"paused": ["verify"]}
    assert "No job type is paused." in place("resume", "verify")


def test_a_type_that_no_job_has_had_is_not_paused(place: Place) -> None:
    for command in ("pause", "resume"):
        said = place(command, "embedd", code=1)
        assert "the nearest is embed, and there are delete_vectors, embed, " in said
        assert "isn't a job type" in place(command, " ", code=2)
    assert place.json("resume", "embed") == {"paused": []}


def test_a_type_of_an_added_handler_is_paused_once_there_is_a_job_of_it(place: Place) -> None:
    place.queue("thumbnails of 7?")
    assert "Paused: thumbnails of 7?." in place("pause", "thumbnails of 7?")
    assert place.json("resume", "thumbnails of 7?") == {"paused": []}


def test_wrong_filters_are_usage_errors(place: Place) -> None:
    assert "choose from queued, running" in place("list", "--status", "done", code=2)
    assert "isn't a project name" in place("list", "--project", "no such/name", code=2)
    place("list", "--limit", "0", code=2)


def test_jobs_are_read_beside_a_service_that_has_the_stores_open(tmp_path: Path) -> None:
    """They need only SQL, so another process may have the embedded index open."""
    cli = Cli(tmp_path)
    line = b'{"source_uri": "doc:1", "extraction_type": "fact", "data": {"text": "x"}}\n'
    with serve_process(tmp_path, {}) as service:
        assert cli.json("ingest", "-", "--api", service.url, stdin=line)["indexed"] == 1
        [job] = cli.items("jobs", "list")
        assert job == cli.json("jobs", "show", job["id"], "--api", service.url)
        assert (job["type"], job["status"]) == ("embed", "completed")
        assert cli.json("jobs", "pause", "embed")["paused"] == ["embed"]
        assert cli.json("jobs", "resume", "embed", "--api", service.url)["paused"] == []
