"""An ingest stopped at any moment: what it reported as stored is stored; the next run finishes."""

import json
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from support.cli import Cli

pytestmark = pytest.mark.slow

COUNT = 20_000


@pytest.fixture
def cli(disk_path: Path) -> Cli:
    with (disk_path / "in.jsonl").open("w") as file:
        for number in range(COUNT):
            data = {"fact_text": f"fact number {number}"}
            file.write(
                json.dumps({"source_uri": f"doc:{number}", "extraction_type": "fact", "data": data}) + "\n"
            )
    return Cli(disk_path, WORKER_BATCH_SIZE="200")


def wait_until_stored(cli: Cli, count: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = cli.folder / "data" / "agent-storage.db"
        if path.exists():
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                try:
                    [(found,)] = connection.execute("SELECT count(*) FROM extractions")
                except sqlite3.OperationalError:  # the schema isn't there yet
                    found = 0
            connection.close()
            if found >= count:
                return
        time.sleep(0.02)
    pytest.fail("nothing was stored")


def test_ctrl_c_ends_soon_and_says_what_was_stored(cli: Cli) -> None:
    process = cli.start("ingest", "in.jsonl")
    wait_until_stored(cli, 1_000)
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    assert time.monotonic() - asked < 15, "a hang, however busy the machine is"
    last = err.decode().splitlines()[-1]
    assert "job" not in err.decode(), "nothing but that line follows what was said at the start"
    assert last.endswith(
        "were accepted. To go on, run the same command again, which stores nothing twice: agent-storage ingest in.jsonl"
    )
    said = int(last.split("Interrupted: ")[1].split()[0].replace(",", ""))
    counts = cli.items("projects", "list")
    assert counts[0]["extractions"] == said
    assert finish(cli) == COUNT - said


def test_ctrl_c_in_a_replace_says_what_to_run(cli: Cli) -> None:
    process = cli.start("ingest", "in.jsonl", "--replace", "source", "-p", "default")
    wait_until_stored(cli, 1_000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    last = err.decode().splitlines()[-1]
    assert "sources replaced, each as a whole. To go on, run the same command again" in last
    assert last.endswith("agent-storage ingest in.jsonl --replace source -p default")
    report = cli.json("ingest", "in.jsonl", "--replace", "source")
    assert report["added"] + report["unchanged"] == COUNT
    assert report["unchanged"] >= 1_000


def finish(cli: Cli) -> int:
    """Run the ingest to its end; afterwards the stores hold everything and agree."""
    report = cli.json("ingest", "in.jsonl")
    assert report["new"] + report["known"] == COUNT
    found = cli.json("verify")
    assert (found["extractions"], found["points"], found["remaining"]) == (COUNT, COUNT, 0)
    stored: int = report["new"]
    return stored


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_ingest_loses_nothing_and_is_finished_by_the_next(cli: Cli, seed: int) -> None:
    randomness = random.Random(seed)  # noqa: S311 - moments, not secrets
    for _ in range(3):
        process = cli.start("ingest", "in.jsonl")
        wait_until_stored(cli, 200)
        time.sleep(randomness.uniform(0.0, 1.0))
        process.kill()
        process.communicate(timeout=30)
    finish(cli)
