"""Chaos: what it finds when promises are kept, and when they aren't."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine
from support.cli import COMMAND, Cli, environment
from support.postgres import PostgresServer
from support.qdrant_server import HOW_TO, is_available
from support.rows import make_project, new_extraction, writing

from app.cli.chaos.books import Books, Report
from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.services.storage.repositories.extraction import ExtractionRepository


def report() -> Report:
    return Report(1.0, 1, {}, {}, {}, {})


def test_what_is_lost_doubled_or_back_is_a_broken_promise(sqlite_engine: Engine) -> None:
    with writing(sqlite_engine) as session:
        project = make_project(session)
        made = [new_extraction(session, project, data={"text": f"text {n}"}) for n in range(4)]
        ExtractionRepository(session).create_batch(made)
        rows = ExtractionRepository(session).list(Filters(), limit=10)
    books = Books(1)
    books.note_stored(row.id for row in rows)
    well = report()
    well.compare(books, rows)
    assert well.held
    lost = report()
    lost.compare(books, rows[1:])
    assert (lost.held, lost.lost, lost.first_lost) == (False, 1, [str(rows[0].id)])
    doubled = report()
    doubled.compare(books, [*rows, rows[0]._replace(id=ExtractionId(rows[0].source_id))])
    assert (doubled.held, doubled.doubled) == (False, 1)
    books.note_gone([rows[2].id])
    back = report()
    back.compare(books, rows)
    assert (back.held, back.returned, back.lost) == (False, 1, 0)
    assert not replace(well, failed_jobs=1).held
    assert not replace(well, left=1).held
    assert replace(well, differing=1).held


def test_what_is_being_deleted_is_promised_by_nobody() -> None:
    books = Books(1)
    books.note_stored([ExtractionId(uuid.UUID(int=number)) for number in range(9)])
    taken = books.take_some(5)
    assert len(taken) == 5
    assert not books.stored.keys() & set(taken)
    assert len(books.take_some(20)) == 4


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    cli = Cli(tmp_path)
    for folder in (".", "precious"):
        assert b"isn't empty" in cli("chaos", "--folder", folder, code=1).stderr


def test_a_program_that_is_none_is_told(tmp_path: Path) -> None:
    assert b"nowhere can't be run" in Cli(tmp_path)("chaos", "--qdrant", "nowhere", code=1).stderr
    told = Cli(tmp_path)("chaos", "--database-url", "postgresql://h/n", code=2).stderr
    assert b"requires --qdrant, too" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_promises_hold_on_one_machine(tmp_path: Path) -> None:
    """It doesn't touch the stores of the settings."""
    cli = Cli(tmp_path)
    item = {"source_uri": "a", "extraction_type": "fact", "data": {"text": "precious"}}
    cli("ingest", "-", stdin=json.dumps(item).encode())
    before = (tmp_path / "data" / "agent-storage.db").read_bytes()
    cli("backup", "backups")
    options = ("--folder", "chaos", "--copy-of", "backups", "--seed", "7")
    told = cli.json("chaos", "--minutes", "0.35", *options)
    assert told["held"]
    in_copy = Cli(tmp_path / "chaos")("extractions", "list", "--json").stdout
    assert b"precious" in in_copy
    assert (told["seed"], told["lost"], told["doubled"], told["left"]) == (7, 0, 0, 0)
    assert told["counts"]["accepted"] > 500
    assert sum(told["faults"].values()) >= 2
    assert (tmp_path / "chaos" / "service.log").exists()
    assert (tmp_path / "data" / "agent-storage.db").read_bytes() == before


@pytest.mark.slow
@pytest.mark.skipif(not is_available(), reason=HOW_TO)
def test_promises_hold_on_servers(tmp_path: Path, postgres_server: PostgresServer) -> None:
    program = os.environ.get("TEST_QDRANT_BINARY")
    if program is None:
        pytest.skip("it kills a Qdrant server of its own: set TEST_QDRANT_BINARY")
    name, url = postgres_server.create(migrated=False)
    try:
        options = ("--qdrant", program, "--database-url", url, "--folder", "chaos")
        told = Cli(tmp_path).json("chaos", "--minutes", "0.5", *options)
        assert told["held"]
        assert told["counts"]["accepted"] > 500
        assert b"isn't empty" in Cli(tmp_path)("chaos", *options[:4], code=1).stderr
    finally:
        postgres_server.drop(name)


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chaos", "--minutes", "5", "--folder", "chaos"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    log = tmp_path / "chaos" / "service.log"
    until = time.monotonic() + 60
    while not (log.exists() and b"listening" in log.read_bytes()) and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err.decode()
    assert b"Traceback" not in err
    left = [
        each.name
        for each in Path("/proc").iterdir()
        if each.name.isdigit() and str(tmp_path).encode() in _environment_of(each)
    ]
    assert left == [] or sys.platform != "linux"


def _environment_of(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
