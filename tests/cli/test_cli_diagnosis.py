"""Diagnosis by the command line: metrics, doctor, warnings, and output that can't be written."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from support.cli import COMMAND, EXAMPLE, Cli

from app.cli.output import counted

pytestmark = pytest.mark.slow

NOWHERE = {"QDRANT_URL": "http://127.0.0.1:9", "QDRANT_RETRY_TIMEOUT": "1"}
NO_DATABASE = {"DATABASE_URL": "postgresql://somebody:hidden@127.0.0.1:9/nothing"}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def faults(rows: list[dict[str, Any]]) -> dict[str, str]:
    """What is wrong and what to do, by part."""
    return {row["part"]: f"{row['error']} {row['hint'] or ''}" for row in rows if not row["ok"]}


def parts(rows: list[dict[str, Any]]) -> set[str]:
    return {row["part"] for row in rows}


def test_metrics_show_the_pool_and_every_lane_in_use(cli: Cli) -> None:
    cli("db", "upgrade")
    shown = cli("metrics").stdout.decode()
    assert all(word in shown for word in ("size", "checked out", "overflow"))
    [lane] = [line for line in shown.splitlines() if line.startswith("│ database")]
    assert [cell.strip() for cell in lane.split("│")[1:7]] == ["database", "8", "0", "0", "0", "0"]


# --- doctor ---------------------------------------------------------------------------------------


def test_doctor_finds_every_part_well(cli: Cli) -> None:
    cli("db", "upgrade")
    rows = cli.json("doctor")["parts"]
    assert parts(rows) == {"configuration", "database", "qdrant", "embedder", "index"}
    assert faults(rows) == {}
    measured = {row["part"] for row in rows if row["latency_seconds"] is not None}
    assert measured == {"database", "qdrant", "embedder"}
    assert cli("doctor").stderr == b""


def test_doctor_names_the_qdrant_that_is_not_there(tmp_path: Path) -> None:
    cli = Cli(tmp_path, **NOWHERE)
    Cli(tmp_path)("db", "upgrade")
    done = cli("doctor", "--json", code=1)
    assert done.stderr == b""
    rows = cli.json("doctor", code=1)["parts"]
    assert parts(rows) == {"configuration", "database", "qdrant", "embedder"}
    assert faults(rows).keys() == {"qdrant"}
    assert "refused" in faults(rows)["qdrant"]
    assert "http://127.0.0.1:9" in faults(rows)["qdrant"]


@pytest.mark.parametrize("command", ["search x", "search x --mode meaning", "verify", "ingest facts.jsonl"])
def test_every_command_says_which_qdrant_is_absent_and_what_to_check(tmp_path: Path, command: str) -> None:
    (tmp_path / "facts.jsonl").write_text(
        '{"source_uri": "a", "extraction_type": "fact", "data": {"text": "x"}}'
    )
    Cli(tmp_path)("ingest", "facts.jsonl")
    secret = {"QDRANT_URL": "http://me:hidden@127.0.0.1:9", "QDRANT_RETRY_TIMEOUT": "3"}
    done = Cli(tmp_path, **secret)(*command.split(), code=0 if command == "search x" else 1)
    told = done.stderr.decode()
    assert "refused" in told
    assert "Qdrant: Is it running, and are qdrant.url and qdrant.api_key right?" in told
    assert "127.0.0.1:9" in told
    assert "hidden" not in told


@pytest.mark.parametrize("command", ["search x", "sources list", "ingest facts.jsonl"])
def test_every_command_says_which_database_is_absent_and_what_to_check(tmp_path: Path, command: str) -> None:
    (tmp_path / "facts.jsonl").write_text("{}")
    done = Cli(tmp_path, DATABASE_URL="postgresql://me:hidden@127.0.0.1:9/facts")(*command.split(), code=1)
    told = done.stderr.decode()
    assert "Database: Is it running, and is database.url right?" in told
    assert "It is postgresql+psycopg://me:********@127.0.0.1:9/facts." in told
    assert "hidden" not in told


def test_doctor_goes_on_after_the_first_fault(tmp_path: Path) -> None:
    cli = Cli(tmp_path, **NOWHERE, **NO_DATABASE)
    rows = cli.json("doctor", code=1)["parts"]
    assert faults(rows).keys() == {"database", "qdrant"}
    assert "embedder" in parts(rows)
    done = cli("doctor", code=1)
    assert "database.url" in done.stdout.decode()
    assert b"hidden" not in done.stdout + done.stderr
    assert b"2 parts of 4 failed" in done.stderr


@pytest.fixture
def held(cli: Cli) -> Iterator[Cli]:
    """A folder whose Qdrant directory another process has open."""
    cli("db", "upgrade")
    code = (
        "from pathlib import Path; from app.services.storage.qdrant.edge import EdgeClient\n"
        "client = EdgeClient(Path('data/qdrant')); print('open', flush=True); input()"
    )
    with subprocess.Popen(
        [COMMAND[0], "-c", code],
        cwd=cli.folder,
        env=cli.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        yield cli
        holder.communicate("\n", timeout=30)


def test_doctor_says_that_another_process_holds_the_directory(held: Cli) -> None:
    rows = held.json("doctor", code=1)["parts"]
    assert faults(rows).keys() == {"qdrant"}
    assert "another process is using" in faults(rows)["qdrant"]
    assert {"database", "embedder"} <= parts(rows)


def test_doctor_and_a_held_directory_and_no_database(held: Cli) -> None:
    rows = Cli(held.folder, **NO_DATABASE).json("doctor", code=1)["parts"]
    assert faults(rows).keys() == {"database", "qdrant"}
    assert "embedder" in parts(rows)


def test_doctor_lists_what_is_wrong_with_the_settings(tmp_path: Path) -> None:
    cli = Cli(tmp_path, DB_POOL_SIZE="0", API_PORT="x")
    [row] = cli.json("doctor", code=1)["parts"]
    assert (row["part"], row["ok"], row["latency_seconds"]) == ("configuration", False, None)
    assert "database.pool_size" in row["error"]
    assert "api.port" in row["error"]


# --- warnings and logging -------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("search", "x"), ("metrics",), ("doctor",)])
def test_an_unknown_variable_is_warned_of_once(tmp_path: Path, command: tuple[str, ...]) -> None:
    Cli(tmp_path)("db", "upgrade")
    said = Cli(tmp_path, DB_POOL_SIZ="7")(*command).stderr.decode().splitlines()
    [warning] = [line for line in said if "DB_POOL_SIZ " in line]
    assert warning.startswith("WARNING DB_POOL_SIZ ")


def test_libraries_keep_quiet_unless_they_warn(cli: Cli) -> None:
    cli("db", "upgrade")
    assert cli("metrics").stderr == b""


@pytest.mark.parametrize(("level", "shown"), [("info", 20), ("error", 40), ("debug", 10)])
def test_the_configured_level_is_the_loggers(tmp_path: Path, level: str, shown: int) -> None:
    code = (
        "import logging; from app.cli.context import CliContext; CliContext(None, None, None, None, None).settings();"
        "print(logging.getLogger('app.any').getEffectiveLevel(), logging.getLogger('other').getEffectiveLevel())"
    )
    environment = Cli(tmp_path, LOGGING_LEVEL=level).environment
    done = subprocess.run(
        [COMMAND[0], "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True, text=True
    )
    assert done.stdout.split() == [str(shown), str(max(shown, 30))]


# --- output that can't be written -----------------------------------------------------------------


def shell(cli: Cli, script: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` where ``"$@"`` is the command."""
    return subprocess.run(
        ["/bin/bash", "-c", script, "bash", *COMMAND],
        cwd=cli.folder,
        env=cli.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", ["verify", "doctor --json", "search x --json", "--help"])
@pytest.mark.parametrize(
    ("where", "reason"), [(">&-", "standard output is closed"), ("> /dev/full", "No space left on device")]
)
def test_output_that_cannot_be_written_ends_in_one_line(
    cli: Cli, command: str, where: str, reason: str
) -> None:
    cli("db", "upgrade")
    done = shell(cli, f'"$@" {command} {where}')
    assert (done.returncode, done.stderr) == (1, f"Error: can't write the output: {reason}\n")


@pytest.mark.parametrize("flags", ["", "--json"])
def test_a_reader_that_leaves_is_no_error(cli: Cli, flags: str) -> None:
    cli("ingest", str(EXAMPLE))
    done = shell(cli, f'"$@" search person --limit 1000 {flags} | head -1')
    told = (
        "" if flags else "There are more than the 1,000 results that a search returns; narrow it by filters.\n"
    )
    assert (done.returncode, done.stderr) == (0, told)
    assert done.stdout.count("\n") == 1


def test_ctrl_c_while_the_command_is_loaded_is_quiet(cli: Cli) -> None:
    """The import sends the signal, so that its time doesn't depend on the machine's load."""
    code = (
        "import os, signal, sys\n"
        "from app.entrypoints.cli import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'app.cli.search': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "sys.argv = ['agent-storage', 'metrics']\n"
        "main()\n"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", code], cwd=cli.folder, env=cli.environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, b"", b"")


# --- how it is said -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 extractions"), (1, "1 extraction"), (2000, "2,000 extractions")]
)
def test_a_count_agrees_with_its_noun(count: int, said: str) -> None:
    assert counted(count, "extraction") == said


def on_terminal(cli: Cli, columns: int, *arguments: str) -> list[str]:
    """The lines that a command shows on a terminal of this width."""
    ours, its = pty.openpty()
    environment = {**cli.environment, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cli.folder, env=environment, stdout=its, stderr=subprocess.DEVNULL
    ):
        os.close(its)
        shown = b""
        with suppress(OSError):  # how a terminal ends on Linux
            while chunk := os.read(ours, 65_536):
                shown += chunk
    os.close(ours)
    return re.sub("\x1b\\[[0-9;]*m", "", shown.decode()).splitlines()


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_gives_the_text_its_room(cli: Cli, columns: int) -> None:
    cli("ingest", str(EXAMPLE))
    lines = [
        line for line in on_terminal(cli, columns, "search", "person", "--limit", "5") if line.startswith("│")
    ]
    assert {len(line) for line in lines} == {columns}
    _, _, text, *short, _ = lines[0].split("│")
    assert len(text) > max(map(len, short))
    assert sum(line.split("│")[1].strip() != "" for line in lines) == 5
