"""``agent-storage export``: to files and pipes, local and remote, complete and interrupted."""

import asyncio
import csv
import fcntl
import gzip
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from support.cli import COMMAND, Cli
from support.following import PLACES, Place, open_place, open_stores
from support.odd_facts import odd_fact
from support.parts import FIELDS, index_all
from support.waiting import wait_for

from app.domain.export import ExportRow
from app.domain.items import parse_item
from containers import Container

pytestmark = pytest.mark.slow

COUNT = 2_300


def fill(folder: Path, count: int = COUNT, *, indexed: bool = False) -> None:
    async def store(container: Container) -> None:
        for start in range(0, count, 500):
            items = [parse_item(odd_fact(number), FIELDS) for number in range(start, min(count, start + 500))]
            await container.ingestion().accept("papers", items)
        if indexed:
            await container.indexing().prepare()
            await index_all(container)

    with open_stores(folder) as container:
        asyncio.run(store(container))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    fill(tmp_path)
    with open_place(request.param, tmp_path) as place:
        yield place
        for file in place.cli.folder.glob("out*"):
            file.unlink()  # which is all that may be there


def exported(place: Place, *arguments: str) -> bytes:
    return place.cli("export", "-p", "papers", *arguments, *place.api).stdout


def test_all_formats_have_all_extractions(place: Place) -> None:
    folder = place.cli.folder
    lines = exported(place)
    facts = [json.loads(line) for line in lines.splitlines()]
    assert len(facts) == COUNT
    assert "Exported 2,300 extractions of project papers to out.jsonl; that is all" in place(
        "export", "-p", "papers", "-o", "out.jsonl"
    )
    assert (folder / "out.jsonl").read_bytes() == lines
    exported(place, "-o", "out.jsonl.gz")
    assert gzip.decompress((folder / "out.jsonl.gz").read_bytes()) == lines
    table = list(csv.reader(io.StringIO(exported(place, "--format", "csv").decode(), newline="")))
    assert tuple(table[0]) == ExportRow._fields
    assert [json.loads(row[-1]) for row in table[1:]] == [fact["data"] for fact in facts]
    exported(place, "--format", "parquet", "-o", "out.parquet")
    columns = pyarrow.parquet.read_table(folder / "out.parquet").to_pydict()
    assert columns["id"] == [row[0] for row in table[1:]]
    assert [json.loads(data) for data in columns["data"]] == [fact["data"] for fact in facts]
    assert not list(folder.glob("*.part"))


def test_filters_are_those_of_every_command(place: Place) -> None:
    claims = [json.loads(line) for line in exported(place, "--extraction-type", "claim").splitlines()]
    assert {claim["extraction_type"] for claim in claims} == {"claim"}
    assert len(claims) == COUNT // 3 + 1
    assert [json.loads(line)["data"]["n"] for line in exported(place, "--where", "n=7").splitlines()] == [7]
    told = place("export", "-p", "papers", "--run", "nowhere", code=1)
    assert "no run 'nowhere'" in told


def test_bad_input_is_named_and_makes_nothing(place: Place) -> None:
    def refused(*arguments: str, code: int = 1) -> str:
        return place("export", "-p", "papers", "-o", "out.jsonl", *arguments, code=code)

    assert "isn't the cursor of an export" in refused("--after", "x")
    other = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    assert "another project" in refused("--after", other)
    assert "no project 'nowhere'" in refused("-p", "nowhere")
    assert "without .gz" in refused("--format", "parquet", "-o", "out.gz", code=2)
    assert "is no file" in refused("-o", "/")
    assert "can't be written" in refused("-o", "nowhere/out.jsonl")
    assert not list(place.cli.folder.glob("out*"))


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    cli = Cli(tmp_path)
    (tmp_path / "out.jsonl").write_text("older")
    (tmp_path / "out.jsonl.part").write_text("of one that was killed, and is longer than what follows" * 1_000)
    with (tmp_path / "out.jsonl.part").open("r+b") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = cli("export", "-p", "papers", "-o", "out.jsonl", code=1)
        assert b"another process is writing" in refused.stderr
    assert (tmp_path / "out.jsonl").read_text() == "older"
    cli("export", "-p", "papers", "-o", "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "out.jsonl"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    fill(tmp_path, 10)
    done = Cli(tmp_path)("export", "-p", "papers", "-o", "/dev/full", code=1)
    assert b"is no file" in done.stderr
    with Path("/dev/full").open("wb") as full:
        process = subprocess.run(
            [*COMMAND, "export", "-p", "papers"],
            cwd=tmp_path,
            env=Cli(tmp_path).environment,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert process.returncode == 1
    assert b"No space left" in process.stderr
    assert b"that is all" not in process.stderr


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    fill(tmp_path)
    with Cli(tmp_path).start("export", "-p", "papers") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr is not None
        told = process.stderr.read()
        assert process.wait() == 1
    assert told == b""


def interrupted(cli: Cli, part: Path, *arguments: str) -> str:
    """Interrupt a command while it writes, and return its errors; retry if it was too fast."""
    for _ in range(20):
        with cli.start(*arguments) as process:
            wait_for(lambda: part.exists() or process.poll() is not None)
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=60)
        if process.returncode == 130:
            return bytes(told).decode()
    pytest.fail("it was never interrupted")


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.csv", "out.parquet"])
def test_what_ctrl_c_broke_off_goes_on_at_its_cursor(tmp_path: Path, name: str) -> None:
    fill(tmp_path, 6_000)
    cli = Cli(tmp_path)
    arguments = ["export", "-p", "papers", "--format", name.split(".")[1]]
    whole, part, rest = tmp_path / f"whole-{name}", tmp_path / f"{name}.part", tmp_path / f"rest-{name}"
    cli(*arguments, "-o", whole.name)
    told = interrupted(cli, part, *arguments, "-o", name)
    assert not (tmp_path / name).exists(), "what isn't whole has another name"
    found = re.search(
        r"Interrupted: ([\d,]+) extractions? were written to \S+\.part\.(?: `--after (\S+)`)?", told
    )
    assert found, told
    goes_on = [] if found[2] is None else ["--after", found[2]]
    cli(*arguments, *goes_on, "-o", rest.name)
    if name.endswith("parquet"):
        tables = [pyarrow.parquet.read_table(file).to_pylist() for file in (part, rest, whole)]
        assert len(tables[0]) == int(found[1].replace(",", ""))
        assert tables[0] + tables[1] == tables[2]
    else:
        pieces = [file.read_bytes() for file in (part, rest, whole)]
        if name.endswith("gz"):
            pieces = list(map(gzip.decompress, pieces))
        assert pieces[0] + pieces[1] == pieces[2] if goes_on else pieces[1] == pieces[2]


def test_export_into_ingest_moves_a_store_to_postgres_and_back(tmp_path: Path, postgres_url: str) -> None:
    for name in ("first", "third"):
        (tmp_path / name).mkdir()
    fill(tmp_path / "first", 500)
    first = Cli(tmp_path / "first")
    second = Cli(tmp_path, DATABASE_URL=postgres_url, QDRANT_MODE="memory")
    third = Cli(tmp_path / "third")
    for source, target in ((first, second), (second, third)):
        lines = source("export", "-p", "papers").stdout
        report = target.json("ingest", "-", "-p", "papers", stdin=lines)
        assert (report["new"], report["refused"]) == (500, 0)
    tables = [cli("export", "-p", "papers", "--format", "csv").stdout for cli in (first, second, third)]
    assert tables[0] == tables[1] == tables[2]
    assert tables[0].count(b"\r\n") >= 501


@pytest.mark.parametrize("kind", PLACES)
def test_what_search_found_goes_in_again(tmp_path: Path, kind: str) -> None:
    fill(tmp_path, 50, indexed=True)
    with open_place(kind, tmp_path) as place:
        hits = place.hits("plain", "--limit", "20")
        assert len(hits) == 20
        assert {hit["project"] for hit in hits} == {"papers"}
        lines = "".join(json.dumps(hit["extraction"]) + "\n" for hit in hits).encode()
        ingest = place.cli("ingest", "-", "-p", "papers", "--json", *place.api, stdin=lines)
    report = json.loads(ingest.stdout)
    assert (report["new"], report["known"], report["changed"]) == (0, 20, 0)


def test_parquet_is_an_extra(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "pyarrow.py").write_text("raise ImportError")
    environment = Cli(tmp_path).environment
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "hidden"), environment["PYTHONPATH"]])
    command = [*COMMAND, "export", "-p", "papers", "--format", "parquet", "-o", "out.parquet"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    assert b"pip install 'agent-storage[parquet]'" in done.stderr
    assert not list(tmp_path.glob("out*"))
