"""Every command beside a running service: those that need the index go through it, and say so."""

import json
import signal
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.cli import EXAMPLE, Cli
from support.processes import Service, command_process, serve_process
from support.waiting import wait_for

from app.cli.main import app
from app.exit_codes import INTERRUPTED

pytestmark = pytest.mark.slow

THROUGH = "Going through the service at"
ANY_JOB = "01234567-89ab-cdef-0123-456789abcdef"

THEIRS = {
    "ingest": "- -p new",
    "search": "fact --json",
    "verify": "--repair --json",
    "reindex": "--json",
    "doctor": "--json",
    "projects delete": "unwanted --yes",
    "sources delete": "doc:1 -p seeded --yes",
    "runs undo": "first -p undone --yes",
    "extractions delete": "--source-uri doc:3 -p seeded --yes",
    "extractions retry": "-p seeded",
}
"""Commands that need the index, and go through the service."""

OURS = {
    "history": "doc:2 -p seeded",
    "changes": "-p seeded",
    "metrics": "--json",
    "backup": "backups",
    "embedders list": "",
    "embedders compare": "pairs.jsonl --embedder deterministic",
    "graph": "",
    "jobs list": "",
    "jobs prune": "--older-than 1h",
    "jobs pause": "verify",
    "jobs resume": "verify",
    "projects list": "",
    "projects describe": "seeded",
    "export": "-p seeded",
    "extractions list": "-p seeded",
    "extractions count": "-p seeded",
    "sources list": "-p seeded",
    "sources show": "doc:2 -p seeded",
    "sources prune": "-p seeded --yes",
    "runs list": "-p seeded",
    "runs show": "first -p seeded",
    "runs diff": "first -p seeded",
    "db upgrade": "",
    "chaos": "--minutes 0.05",
    "config show": "",
    "config check": "",
}
"""Commands that need only SQL, or less, and work beside the service."""

REFUSED = {
    "serve": ("--port 65000", "It is the service at"),
    "worker": ("", "It is the service at"),
    "adopt": ("--yes", "stop it, run this command"),
    "optimize": ("", "stop it, run this command"),
    "restore": ("backups", "database"),
    "extractions show": (ANY_JOB, "no extraction"),
    "jobs show": (ANY_JOB, "no job"),
    "jobs retry": (ANY_JOB, "no job"),
    "jobs cancel": (ANY_JOB, "no job"),
}
"""Commands that exit with code 1 and a reason: the service blocks them, or there is no job."""

NO_API = {
    "serve",
    "worker",
    "graph",
    "chaos",
    "embedders list",
    "embedders compare",
    "config show",
    "config check",
}
"""Commands that use no store of a service's, or are one."""

IN_WORDS = {"adopt", "optimize", "backup", "restore", "db upgrade"}
"""Commands that say in words why they can't go through a service."""


def commands() -> Iterator[tuple[str, Any]]:
    """All there are, by name."""

    def walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, (*path, name))
        if not hasattr(command, "commands"):
            yield " ".join(path), command

    return walk(typer.main.get_command(app), ())


NAMES = sorted(name for name, _ in commands())


def fact(number: int) -> bytes:
    item = {"source_uri": f"doc:{number}", "extraction_type": "fact", "data": {"text": f"fact number {number}"}}
    return json.dumps(item).encode() + b"\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data."""
    folder = tmp_path_factory.mktemp("home")
    cli = Cli(folder)
    (folder / "pairs.jsonl").write_text('{"query": "which fact", "text": "fact number 1"}\n')
    seeds = b"".join(map(fact, range(20)))
    cli("ingest", "-", "-p", "seeded", "--run", "first", stdin=seeds)
    cli("ingest", "-", "-p", "undone", "--run", "first", stdin=seeds)
    cli("ingest", "-", "-p", "unwanted", stdin=seeds)
    return folder


@pytest.fixture(scope="module")
def service(home: Path) -> Iterator[Service]:
    with serve_process(home, {}) as service:
        yield service


@pytest.fixture
def cli(home: Path) -> Cli:
    return Cli(home)


@pytest.mark.parametrize("name", NAMES)
def test_every_command_beside_a_service(service: Service, cli: Cli, name: str) -> None:
    arguments, reason = REFUSED.get(name, (THEIRS.get(name) or OURS.get(name, ""), ""))
    if name == "restore":
        cli("backup", "backups")
    done = cli(*name.split(), *arguments.split(), stdin=fact(1), code=1 if name in REFUSED else 0)
    told = " ".join(done.stderr.decode().split())
    assert (f"{THROUGH} {service.url}, which holds {cli.folder / 'data' / 'qdrant'}" in told) == (
        name in THEIRS
    )
    assert reason in told + done.stdout.decode()
    if name in THEIRS and name not in {"doctor", "reindex"}:
        near = cli(*name.split(), *arguments.replace("--json", "").split(), "--near", stdin=fact(1), code=1)
        assert "another process is using" in near.stderr.decode()
        assert service.url in near.stderr.decode()


def test_every_command_is_tried() -> None:
    assert sorted([*THEIRS, *OURS, *REFUSED]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_command_takes_api_or_says_why_not(name: str, service: Service, cli: Cli) -> None:
    options = {option for param in dict(commands())[name].params for option in param.opts}
    assert ("--near" in options) == (name in THEIRS)
    assert ("--api" in options) == (name not in NO_API)
    if name in IN_WORDS:
        arguments = {**OURS, **{each: given for each, (given, _) in REFUSED.items()}}[name]
        told = cli(*name.split(), *arguments.split(), "--api", service.url, code=2).stderr.decode()
        assert "not supported here" in " ".join(told.replace("│", " ").split())


def test_near_and_api_exclude_each_other(cli: Cli) -> None:
    for name in ("verify", "doctor"):
        assert "give one of them" in cli(name, "--near", "--api", "http://127.0.0.1:9", code=2).stderr.decode()


# --- what they do there ---------------------------------------------------------------------------


def test_commands_through_a_service_say_what_they_say_here(tmp_path: Path) -> None:
    """Verify, projects, metrics and reindex of the same data, near and far."""
    cli = Cli(tmp_path)
    cli("ingest", str(EXAMPLE), "-p", "words")
    cli("ingest", "-", "-p", "other", stdin=fact(1))

    def told() -> list[Any]:
        metrics = cli.json("metrics", *there)
        return [
            cli.json("verify", *there),
            cli.json("verify", "--repair", *there),
            cli.items("projects", "list", *there),
            cli("projects", "list", *there).stdout,
            metrics["extractions"],
            metrics["orphans"],
            metrics.keys(),
            cli.json("reindex", *there),
            cli.json("verify", *there),
            len(cli.hits("person", *there)),
        ]

    there: tuple[str, ...] = ()
    here = told()
    with serve_process(tmp_path, {}) as service:
        there = ("--api", service.url)
        assert told() == here
        assert "job type" in cli("metrics", *there).stdout.decode()
        assert cli.json("metrics", *there)["jobs"]["reindex"] == {"completed": 1}
        deleted = cli.json("projects", "delete", "words", "--yes", *there)
        assert (deleted["project"], deleted["deleted"]) == ("words", 2_000)
        assert cli.json("verify", *there)["points"] == 1
        assert (
            "no project 'words'" in cli("projects", "delete", "words", "--yes", *there, code=1).stderr.decode()
        )


def test_doctor_beside_a_healthy_service_finds_all_well(service: Service, cli: Cli) -> None:
    done = cli("doctor")
    assert "All is well." in done.stdout.decode()
    assert f"{THROUGH} {service.url}, which holds" in done.stderr.decode()
    rows = cli.json("doctor")["parts"]
    assert all(row["ok"] for row in rows)
    parts = {row["part"] for row in rows}
    assert parts == {"configuration", "database", "embedder", "service", "qdrant", "index", "executor"}
    assert cli.json("doctor", "--near", code=1)["parts"] != rows


def test_doctor_asks_the_service_that_api_names(service: Service, tmp_path: Path) -> None:
    far = Cli(tmp_path)
    rows = far.json("doctor", "--api", service.url)["parts"]
    assert {row["part"] for row in rows} == {
        "configuration",
        "service",
        "database",
        "qdrant",
        "index",
        "executor",
    }
    assert all(row["ok"] for row in rows)
    assert list(tmp_path.iterdir()) == []
    [_, row] = far.json("doctor", "--api", "http://127.0.0.1:9", code=1)["parts"]
    assert (row["part"], row["ok"]) == ("service", False)
    assert "nothing answers there" in row["error"]


def test_doctor_tells_what_a_service_lacks(tmp_path: Path) -> None:
    """While the index is being rebuilt, say."""
    cli = Cli(tmp_path)
    cli("ingest", "-", "-p", "p", stdin=fact(1))
    with serve_process(tmp_path, {}, workers=0) as service:
        job = json.loads(_post(service, "/v1/reindex"))
        assert job["type"] == "reindex"
        assert all(row["ok"] for row in cli.json("doctor")["parts"]), "the job has not begun"
        service.process.send_signal(signal.SIGSTOP)
        try:
            rows = {row["part"]: row for row in cli.json("doctor", code=1)["parts"]}
        finally:
            service.process.send_signal(signal.SIGCONT)
        assert not rows["service"]["ok"]
        assert rows["database"]["ok"]
        assert rows["embedder"]["ok"]


def _post(service: Service, path: str) -> bytes:
    import httpx2  # noqa: PLC0415 - only used here

    return httpx2.post(service.url + path).raise_for_status().content


def test_ctrl_c_leaves_the_service_to_its_job_and_says_so(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with serve_process(tmp_path, {}, workers=0) as service:
        with cli.start("verify", "--api", service.url) as command:
            wait_for(lambda: b"/v1/jobs/{job_id}" in service.log.read_bytes())  # it follows the job
            command.send_signal(signal.SIGINT)
            _, err = command.communicate(timeout=60)
        assert command.wait() == INTERRUPTED
        [job] = cli.items("jobs", "list")
        assert job["status"] == "queued"
        assert err.decode() == (
            f"The service continues the job; `agent-storage jobs cancel {job['id']} --api {service.url}` stops it.\n"
        )
        assert cli.json("jobs", "cancel", job["id"])["status"] == "cancelled"


# --- how the service is found ---------------------------------------------------------------------


def test_the_note_is_there_for_its_owner_as_long_as_the_service(tmp_path: Path) -> None:
    cli, note = Cli(tmp_path), tmp_path / "data" / "qdrant" / ".service"
    with serve_process(tmp_path, {}) as service:
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
        assert json.loads(note.read_bytes())["url"] == service.url
        assert json.loads(note.read_bytes())["pid"] == service.process.pid
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=60) == 0
    assert not note.exists()
    assert THROUGH not in cli("verify").stderr.decode()


def test_what_a_killed_service_has_left_is_passed_over(tmp_path: Path) -> None:
    cli, note = Cli(tmp_path), tmp_path / "data" / "qdrant" / ".service"
    with serve_process(tmp_path, {}) as service:
        cli("ingest", "-", "-p", "p", stdin=fact(1))
        service.kill()
    assert note.exists()
    assert cli("doctor").stderr == b""
    done = cli("search", "fact", "--json")
    assert len(json.loads(done.stdout)["items"]) == 1
    assert done.stderr == b""
    with serve_process(tmp_path, {}) as service:
        assert f"{THROUGH} {service.url}" in cli("search", "fact").stderr.decode()


def test_a_command_that_holds_the_index_is_no_service(tmp_path: Path) -> None:
    """Not even where a killed service has left its note."""
    cli = Cli(tmp_path)
    with serve_process(tmp_path, {}) as service:
        service.kill()
    with command_process(tmp_path, {}, "worker") as worker:
        while b"with 16 jobs" not in (tmp_path / "command.log").read_bytes():
            assert worker.poll() is None
        told = cli("search", "fact", code=1).stderr.decode()
        assert "another process is using" in told
        assert "name it with --api" in told


def test_the_key_is_the_settings_own_or_that_of_the_environment(tmp_path: Path) -> None:
    key, other = "k" * 32, "o" * 32
    with serve_process(tmp_path, {"API_API_KEYS": f"{key},{other}"}):
        with_settings = Cli(tmp_path, API_API_KEYS=f"{other},{key}", AGENT_STORAGE_API_KEY="of another service")
        with_settings("ingest", "-", "-p", "p", stdin=fact(1))
        assert all(row["ok"] for row in with_settings.json("doctor")["parts"])
        Cli(tmp_path, AGENT_STORAGE_API_KEY=key)("verify")
        without = Cli(tmp_path)
        assert "not authenticated" in without("verify", code=1).stderr.decode()
        [row] = [row for row in without.json("doctor", code=1)["parts"] if not row["ok"]]
        assert row["part"] == "service"
        assert "not authenticated" in row["error"]
        assert row["hint"] is None, "it runs, and that is its address"


def test_a_service_on_another_database_is_not_gone_through(service: Service, cli: Cli) -> None:
    cli.environment["DATABASE_URL"] = "sqlite:///elsewhere.db"
    cli("db", "upgrade")
    told = cli("search", "fact", code=1).stderr.decode()
    assert THROUGH not in told
    assert f"uses the database {cli.folder / 'data' / 'agent-storage.db'}" in told
    assert service.url in told


def test_a_service_with_another_embedder_is_not_asked_to_reindex(service: Service, cli: Cli) -> None:
    cli.environment["EMBEDDING_DIMENSION"] = "16"
    told = cli("reindex", code=1).stderr.decode()
    assert "deterministic with 32 dimensions" in told
    assert "the settings say deterministic with 16 dimensions" in told
    assert service.url in told
    assert cli.json("reindex", "--api", service.url)["set_aside"] == 0, "who names it means its own embedder"
