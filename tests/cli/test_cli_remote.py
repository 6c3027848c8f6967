"""``ingest``, ``search`` and ``jobs`` with ``--api``, on a service in a separate process."""

import json
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.cli import EXAMPLE, Cli
from support.forked import Process
from support.loopback import TLS
from support.parts import make_item
from support.processes import Service, free_port, serve_process
from support.waiting import wait_for

from app.cli.remote.connection import Patience, check_url
from app.cli.remote.parts import open_remote
from app.domain.search import Query
from app.errors import InvalidInput, JobStalled, ServiceError, ServiceUnavailable

pytestmark = pytest.mark.slow

KEY = "s3cret-of-the-service"
STORES = (
    "alembic",
    "app.database",
    "app.models",
    "app.services",
    "containers",
    "dependency_injector",
    "numpy",
    "psycopg",
    "qdrant_client",
    "qdrant_edge",
    "sqlalchemy",
    "wordllama",
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of the service."""
    folder = tmp_path / "service"
    folder.mkdir()
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Commands far from the service's stores."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Cli(folder, WORKER_BATCH_SIZE="100")


@pytest.fixture
def service(home: Path) -> Iterator[Service]:
    with serve_process(home, {}) as service:
        yield service


def line(number: int, **changes: Any) -> bytes:
    item = {
        "source_uri": f"doc:{number}",
        "source_group": f"group-{number % 2}",
        "extraction_type": ("fact", "claim")[number % 3 == 0],
        "confidence": number % 10 / 10,
        "data": {
            "fact_text": f"fact number {number} größer",
            "n": number,
            "x": 1e16,
            "deep": {"odd": number % 2 == 1},
        },
    }
    return json.dumps({**item, **changes}).encode() + b"\n"


def lines(count: int) -> bytes:
    return b"".join(line(number) for number in range(count))


def error_of(done: "subprocess.CompletedProcess[bytes]") -> str:
    """The one error that was told, on one line."""
    told = done.stderr.decode()
    assert f"\n{told}".count("\nError: ") == 1, told
    return " ".join(told.split())


# --- the same commands, near and far --------------------------------------------------------------


def test_a_service_does_what_the_same_commands_do_here(cli: Cli, service: Service) -> None:
    """Reports, results, scores and ids are equal: both run the same code on the same data."""
    here = Cli(cli.folder / "here", WORKER_BATCH_SIZE="100")
    here.folder.mkdir()
    there = ("--api", service.url)
    bad = b'{"source_uri": "x"}\n'
    for content, code in ((lines(250), 0), (lines(300), 0), (lines(3) + bad + line(999), 1)):
        ours = here.json("ingest", "-", "--project", "a", stdin=content, code=code)
        theirs = cli.json("ingest", "-", "--project", "a", *there, stdin=content, code=code)
        assert {**theirs, "seconds": 0} == {**ours, "seconds": 0}
    here.json("ingest", "-", "--project", "b", stdin=line(7, data={"text": "fact in another project"}))
    cli.json("ingest", "-", "--project", "b", *there, stdin=line(7, data={"text": "fact in another project"}))
    for options in (
        ("--project", "a"),
        ("--limit", "7"),
        ("--source-group", "group-1", "--extraction-type", "claim", "--project", "a"),
        (
            "--min-confidence",
            "0.3",
            "--max-confidence",
            "0.5",
            "--source-group",
            "group-0",
            "--source-group",
            "group-1",
        ),
        ("--where", "n=12", "--where", "deep.odd=false"),
        ("--where", "x=1e16", "--limit", "3", "--project", "a"),
    ):
        ours = here.hits("fact number 12", *options)
        theirs = cli.hits("fact number 12", *options, *there)
        assert [hit["score"] for hit in theirs] == pytest.approx([hit["score"] for hit in ours], abs=1e-6)
        assert _plain(theirs) == _plain(ours)
    found = cli("search", "fact number 12", *there).stdout.decode()
    assert "fact number 12 größer" in found
    assert "no project 'nowhere'" in error_of(cli("search", "fact", "--project", "nowhere", *there, code=1))
    assert "isn't a project name" in error_of(cli("search", "fact", "--project", "../x", *there, code=1))
    assert "the query is empty" in error_of(cli("search", " ", "--project", "a", *there, code=1))
    assert _names(cli.folder) == {"here"}, "a command that uses a service opens no stores of its own"


def test_a_command_that_uses_a_service_loads_no_store(cli: Cli, service: Service) -> None:
    """Nor a library that a store needs, so that it starts at once."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    for url, code, command in (
        (service.url, 0, ["ingest", "-"]),
        (service.url, 0, ["search", "fact", "--where", "n=1"]),
        (service.url, 0, ["jobs", "list"]),
        (nowhere, 1, ["ingest", "-"]),
        (nowhere, 1, ["search", "fact", "--project", "a"]),
    ):
        loaded = cli.loaded([*STORES, "httpx2"], *command, "--api", url, stdin=lines(3), code=code)
        assert loaded == {"httpx2"}, command


def _plain(hits: list[Any]) -> list[Any]:
    """Without times, and scores, which may differ in the last digit, and with them the order."""
    apart = {"score": None, "created_at": None, "extraction": None}
    return sorted(({**hit, **apart} for hit in hits), key=lambda hit: hit["id"])


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_way_of_a_new_user(cli: Cli, service: Service) -> None:
    there = ("--project", "wordnet", "--api", f"{service.url}/")
    first = cli("ingest", str(EXAMPLE), *there).stdout.decode()
    assert "Stored 2,000 new extractions in project wordnet" in first
    assert "Indexed 2,000" in first
    again = cli("ingest", str(EXAMPLE), *there).stdout.decode()
    assert "Nothing new: 2,000 of 2,000 were stored already, and weren't stored twice." in again
    assert "wordnet:" in cli("search", "a human being", *there).stdout.decode()
    [newest, *_] = cli.items("jobs", "list", "--api", service.url)
    assert (newest["type"], newest["status"], newest["result"]) == (
        "embed",
        "completed",
        {"indexed": 100, "set_aside": 0, "cut": 0},
    )


@pytest.fixture
def cutting_service(home: Path) -> Iterator[Service]:
    with serve_process(home, {"EMBEDDING_MAX_CHARS": "12"}) as service:
        yield service


def test_an_ingest_tells_how_many_the_service_cut(cli: Cli, cutting_service: Service) -> None:
    there = ("--api", cutting_service.url)
    assert cli.json("ingest", "-", *there, stdin=lines(3))["cut"] == 3
    [job, *_] = cli.items("jobs", "list", *there)
    assert job["result"] == {"indexed": 3, "set_aside": 0, "cut": 3}


def test_changed_lines_are_counted_and_found_by_what_they_say_now(cli: Cli, service: Service) -> None:
    there = ("--project", "changes")
    for at in ((), ("--api", service.url)):
        cli("ingest", "-", *there, *at, stdin=lines(3))
        changed = line(0, source_group=f"group {at}") + line(1)
        report = cli.json("ingest", "-", *there, *at, stdin=changed)
        assert (report["new"], report["known"], report["changed"]) == (0, 2, 1)
        said = cli("ingest", "-", *there, *at, stdin=line(0, confidence=len(at) / 4 + 0.1)).stdout.decode()
        assert "Changed the confidence, metadata or group of 1 of them." in said


def test_bad_lines_are_refused_by_number_and_skipped_at_will(cli: Cli, service: Service) -> None:
    content = lines(3) + b"{bad\n" + line(4) + line(5, data={}) + line(6)
    done = cli("ingest", "-", "--api", service.url, stdin=content, code=1)
    assert "Error: line 4: not JSON" in done.stderr.decode()
    assert "Everything before it is stored" in done.stderr.decode()
    assert "Stored 3 new extractions" in done.stdout.decode()
    report = cli.json("ingest", "-", "--skip-invalid", "--api", service.url, stdin=content, code=3)
    assert (report["new"], report["known"], report["refused"]) == (2, 3, 2)
    assert (report["indexed"], report["waiting"]) == (2, 0)
    assert (cli.folder / report["rejects_file"]).read_bytes().count(b"\n") == 2


def test_what_the_service_alone_refuses_is_told_in_its_words(cli: Cli, home: Path) -> None:
    with serve_process(home, {"API_MAX_STRING_CHARS": "50"}) as service:
        done = cli(
            "ingest", "-", "--api", service.url, stdin=line(0) + line(1, data={"text": "x" * 51}), code=1
        )
    error = error_of(done)
    assert "/v1/projects/default/extractions answered 422: " in error
    assert "50" in error
    assert "(request " in error
    assert "Stored nothing." in done.stdout.decode()


def test_batches_that_are_too_large_for_the_service_are_sent_in_parts(cli: Cli, home: Path) -> None:
    cli.environment["WORKER_BATCH_SIZE"] = "1000"
    content = lines(500) + b"".join(
        line(number, data={"text": str(number) * 50_000}) for number in range(500, 510)
    )
    with serve_process(home, {"API_MAX_ITEMS": "120", "API_MAX_BODY_BYTES": "500000"}) as service:
        report = cli.json("ingest", "-", "--api", service.url, stdin=content)
        assert (report["new"], report["indexed"], report["waiting"]) == (510, 510, 0)
        huge = line(1, data={"text": "x" * 600_000})
        error = error_of(cli("ingest", "-", "--api", service.url, stdin=huge, code=1))
    assert "answered 413: " in error


def test_all_projects_are_searched_in_one_request(cli: Cli, service: Service) -> None:
    for number in range(3):
        cli("ingest", "-", "--project", f"p{number}", "--api", service.url, stdin=line(number))
    asked: list[str] = []

    def note_path(handler: Asked) -> None:
        asked.append(handler.path)
        answer = relay(handler, service.url)
        respond(handler, answer.status_code, answer.content)

    with answering(note_path) as url:
        found = cli.hits("fact number 2 größer", "--limit", "2", "--api", url)
        every = cli.hits("fact number 2 größer", "--api", url)
    assert [path for path in asked if path.endswith("/search")] == ["/v1/search"] * 2
    assert found == every[:2]
    assert found[0]["data"]["n"] == 2
    assert sorted(hit["data"]["n"] for hit in every) == [0, 1, 2]


# --- keys -----------------------------------------------------------------------------------------


def test_a_service_with_keys_wants_one_of_them(cli: Cli, home: Path) -> None:
    with serve_process(home, {"API_API_KEYS": f"another-s3cret-of-it,{KEY}"}) as service:
        there = ("--api", service.url)
        for command in (["ingest", "-"], ["search", "x"], ["jobs", "list"], ["jobs", "prune"]):
            error = error_of(cli(*command, *there, stdin=lines(1), code=1))
            assert "answered 401: not authenticated: AGENT_STORAGE_API_KEY isn't set" in error
        cli.environment["AGENT_STORAGE_API_KEY"] = f"{KEY}-of-yesterday"
        error = error_of(cli("ingest", "-", *there, stdin=lines(1), code=1))
        assert "AGENT_STORAGE_API_KEY isn't one of the service's keys" in error
        assert KEY not in error
        cli.environment["AGENT_STORAGE_API_KEY"] = KEY
        assert cli.json("ingest", "-", *there, stdin=lines(3))["indexed"] == 3
        assert len(cli.hits("fact", *there)) == 3
        assert len(cli.items("jobs", "list", *there)) == 1
        cli.environment["AGENT_STORAGE_API_KEY"] = "schlüssel"
        error = error_of(cli("jobs", "list", *there, code=1))
        assert "holds a character that no HTTP header can carry" in error
        assert "schl" not in error


# --- where no service is --------------------------------------------------------------------------


def test_nobody_there_is_told_at_once_with_what_to_do(cli: Cli) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    for command in (["ingest", "-"], ["search", "x"], ["jobs", "list"], ["jobs", "pause", "embed"]):
        error = error_of(cli(*command, "--api", url, stdin=lines(1), code=1))
        assert url in error
        assert "nothing answers there" in error
        assert "agent-storage serve" in error


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000",
        "ftp://host",
        "http://",
        "http://host:port",
        "http://[::1",
        "http://host?x=1",
        "",
        "http://h:0",
    ],
)
def test_what_is_no_address_of_a_service_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="--api needs a URL"):
        check_url(url)


def test_an_address_with_a_password_is_refused_without_telling_it(cli: Cli) -> None:
    error = error_of(cli("jobs", "list", "--api", f"http://me:{KEY}@127.0.0.1", code=1))
    assert "AGENT_STORAGE_API_KEY" in error
    assert KEY not in error


class Asked(BaseHTTPRequestHandler):
    """A request, with its body."""

    body = b""


@contextmanager
def answering(answer: Callable[[Asked], None]) -> Iterator[str]:
    """The URL of a server that leaves every request to ``answer``."""

    class Handler(Asked):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("content-length") or 0))
            answer(self)

        do_POST = do_GET  # noqa: N815 - http.server's name

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def respond(handler: Asked, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<h1>It works!</h1>"),
        (404, b"<h1>\x1b[31mNot here</h1>"),
        (302, b""),
        (200, b'{"jobs": 3}'),
        (500, b"[]"),
    ],
)
def test_another_server_there_is_told(cli: Cli, status: int, body: bytes) -> None:
    with answering(lambda handler: respond(handler, status, body, location="http://127.0.0.1:9/")) as url:
        error = error_of(cli("jobs", "list", "--api", url, code=1))
    assert "agent-storage" in error
    assert "\x1b" not in error


# --- faults on the way ----------------------------------------------------------------------------


def relay(handler: Asked, url: str) -> httpx2.Response:
    """What the service at ``url`` answers to the same request."""
    with httpx2.Client(trust_env=False, timeout=60.0, verify=TLS) as client:
        kept = {
            name: handler.headers[name]
            for name in ("content-type", "idempotency-key")
            if name in handler.headers
        }
        return client.request(handler.command, url + handler.path, content=handler.body, headers=kept)


def test_a_lost_answer_is_asked_for_again_and_takes_effect_once(cli: Cli, service: Service) -> None:
    """Every other answer is lost on its way back, after the service has done what was asked."""
    asked: list[str] = []

    def lose_every_other(handler: Asked) -> None:
        asked.append(handler.path)
        answer = relay(handler, service.url)
        if len(asked) % 2:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
        else:
            respond(handler, answer.status_code, answer.content)

    with answering(lose_every_other) as url:
        report = cli.json("ingest", "-", "--api", url, stdin=lines(250))
    # Told as new, though a first try has stored them.
    assert (report["new"], report["known"], report["indexed"]) == (250, 0, 250)
    assert sum(path.endswith("/extractions") for path in asked) > 3


def test_a_service_that_is_too_busy_is_asked_again_when_it_says(cli: Cli, service: Service) -> None:
    asked: list[str] = []

    def refuse_twice(handler: Asked) -> None:
        asked.append(handler.path)
        if len(asked) <= 2:
            respond(handler, 503, b'{"title": "Too busy"}', retry_after="1")
        else:
            answer = relay(handler, service.url)
            respond(handler, answer.status_code, answer.content)

    with answering(refuse_twice) as url:
        assert cli.items("jobs", "list", "--api", url) == []
    assert len(asked) == 3


async def test_patience_ends_with_what_was_answered_last() -> None:
    body = b'{"title": "Too busy", "detail": "later", "request_id": "r-1"}'
    with (
        answering(lambda handler: respond(handler, 503, body)) as url,
        open_remote(url, patience=Patience(all_tries_s=0.5)) as parts,
        pytest.raises(ServiceUnavailable, match=r"answered 503: Too busy: later \(gave up after") as caught,
    ):
        await parts.search().search(Query("x", project="a"))
    assert (caught.value.status, caught.value.request_id, caught.value.retryable) == (503, "r-1", True)


async def test_what_must_not_be_done_twice_is_not_asked_twice() -> None:
    asked: list[str] = []

    def lose(handler: Asked) -> None:
        asked.append(handler.path)
        handler.close_connection = True

    lost = pytest.raises(ServiceUnavailable, match="the answer was lost")
    with answering(lose) as url, open_remote(url) as parts, lost:
        await parts.jobs().prune(1.0)
    assert asked == ["/v1/jobs/prune"]


async def test_an_answer_of_another_version_is_told() -> None:
    with (
        answering(lambda handler: respond(handler, 200, b'{"items": [{"id": 7}]}')) as url,
        open_remote(url) as parts,
        pytest.raises(ServiceError, match="have the same version"),
    ):
        await parts.search().search(Query("x", project="a"))


# --- a service that is stopped meanwhile ----------------------------------------------------------


def feed(process: Process, content: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(content)
    process.stdin.flush()


def stored(service: Service, project: str = "default") -> int:
    answer = httpx2.get(f"{service.url}/v1/projects/{project}", trust_env=False)
    return int(answer.json()["extractions"]) if answer.is_success else 0


def test_a_service_that_goes_away_is_told_with_what_it_has_accepted(cli: Cli, home: Path) -> None:
    with serve_process(home, {}) as service:
        process = cli.start("ingest", "-", "--api", service.url)
        feed(process, lines(350))
        wait_for(lambda: stored(service) >= 300)
    out, err = process.communicate(b"".join(line(number) for number in range(350, 1_000)), timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert b"nothing answers there" in err
    said = int(out.decode().split("Stored ")[1].split()[0])
    assert 200 <= said <= 300, "the last answer may have been lost"
    with serve_process(home, {}) as service:
        report = cli.json("ingest", "-", "--api", service.url, stdin=lines(1_000))
        assert report["known"] >= said
        assert report["new"] + report["known"] == 1_000
        wait_for(lambda: not cli.items("jobs", "list", "--status", "queued", "--api", service.url))
        [best, *_] = cli.hits("fact number 299 größer", "--api", service.url)
        assert best["data"]["n"] == 299


def test_a_service_that_is_started_anew_is_waited_for(cli: Cli, home: Path) -> None:
    port = free_port()
    with serve_process(home, {}, port=port) as service:
        process = cli.start("ingest", "-", "--json", "--api", service.url)
        feed(process, lines(350))
        wait_for(lambda: stored(service) >= 300)
    with serve_process(home, {}, port=port):
        out, err = process.communicate(b"".join(line(number) for number in range(350, 1_000)), timeout=60)
    assert process.returncode == 0, err.decode()
    report = json.loads(out)
    assert (report["new"], report["indexed"], report["waiting"]) == (1_000, 1_000, 0)


def test_ctrl_c_ends_soon_and_says_what_was_stored(cli: Cli, service: Service) -> None:
    process = cli.start("ingest", "-", "--api", service.url)
    feed(process, lines(250))
    wait_for(lambda: stored(service) >= 200)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    assert "run the same command with the same input again" in err.decode()
    said = int(err.decode().split("Interrupted: ")[1].split()[0])
    assert said == stored(service)


# --- jobs that don't end well ---------------------------------------------------------------------


def test_a_job_that_is_cancelled_ends_the_ingest_that_waits_for_it(cli: Cli, home: Path) -> None:
    with serve_process(home, {}, workers=0) as service:
        process = cli.start("ingest", "-", "--api", service.url)
        feed(process, lines(50))
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        wait_for(lambda: bool(cli.items("jobs", "list", "--api", service.url)))
        [job] = cli.items("jobs", "list", "--api", service.url)
        cli("jobs", "cancel", job["id"], "--api", service.url)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"job {job['id']} was cancelled" in err.decode()
    assert "Not indexed yet: 50." in out.decode()


async def test_a_job_to_which_nothing_happens_is_given_up(home: Path) -> None:
    with serve_process(home, {}, workers=0) as service, open_remote(service.url, silent_job_s=0.2) as parts:
        accepted = await parts.ingestion().accept("papers", [make_item(1)])
        with pytest.raises(JobStalled, match=f"job {accepted.job_id} is queued and has made no progress"):
            await parts.worker().run_one()
        assert await parts.worker().run_one() is None
