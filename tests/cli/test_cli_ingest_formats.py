"""``agent-storage ingest`` of CSV, JSON arrays and Parquet, locally and by a service."""

import csv
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet
from support.cli import Cli
from support.following import PLACES, Place, open_place, open_stores

pytestmark = pytest.mark.slow

MAPPED = ("--map", "source_uri=url", "--map", "data.fact_text=what", "--map", "metadata.page.number=page")
SET = ("--set", "extraction_type=price")
SHEET = (*MAPPED, *SET, "--rest", "data", "--ignore", "id")

ROWS: list[dict[str, Any]] = [
    {"id": 1, "url": "a", "what": "the kettle costs 36 euro", "price": 36, "sku": "007", "page": 3},
    {"id": 2, "url": "a", "what": "the toaster, in blue", "price": 19.5, "sku": "x", "page": 4},
    {"id": 3, "url": "b", "what": "a pan", "price": 7, "sku": "y", "page": 5},
]
STORED = {
    ("a", "the kettle costs 36 euro", 36, "007", 3),
    ("a", "the toaster, in blue", 19.5, "x", 4),
    ("b", "a pan", 7, "y", 5),
}


def as_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def as_json(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, indent=1))


def as_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    parquet.write_table(pa.Table.from_pylist([{**row, "price": float(row["price"])} for row in rows]), path)


def packed(path: Path, rows: list[dict[str, Any]]) -> None:
    as_csv(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


Write = Callable[[Path, list[dict[str, Any]]], None]
FORMATS: dict[str, Write] = {
    "it.jsonl": as_jsonl,
    "it.json": as_json,
    "it.csv": as_csv,
    "it.csv.gz": packed,
    "it.parquet": as_parquet,
}
every_format = pytest.mark.parametrize("name", FORMATS)


def written(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    FORMATS[name](folder / name, rows)
    return str(folder / name)


def stored(place: Place) -> set[tuple[Any, ...]]:
    hits = place.hits("costs", "--limit", "50")
    found = [hit["data"] | {"page": hit["metadata"]["page"]["number"]} for hit in hits]
    assert all(data.keys() == {"fact_text", "price", "sku", "page"} for data in found)
    uris = [hit["source_uri"] if "source_uri" in hit else hit["source"]["uri"] for hit in hits]
    assert all(hit["extraction_type"] == "price" for hit in hits)
    return {
        (uri, data["fact_text"], data["price"], data["sku"], data["page"])
        for uri, data in zip(uris, found, strict=True)
    }


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with open_stores(tmp_path):
        pass
    with open_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def here(tmp_path: Path) -> Place:
    return Place(Cli(tmp_path))


def test_every_format_says_the_same(place: Place, tmp_path: Path) -> None:
    first = place.json("ingest", written(tmp_path, "it.csv", ROWS), *SHEET, "--run", "sheet")
    assert (first["new"], first["indexed"], first["refused"]) == (3, 3, 0)
    assert stored(place) == STORED
    assert place.json("runs", "show", "sheet")["id"] == first["run_id"]
    for name in FORMATS:
        again = place.json("ingest", written(tmp_path, name, ROWS), *SHEET)
        assert (again["new"], again["known"]) == (0, 3), name


def test_every_format_replaces(place: Place, tmp_path: Path) -> None:
    for number, name in enumerate(FORMATS):
        rows = [{**row, "price": row["price"] + number} for row in ROWS]
        done = place.json("ingest", written(tmp_path, name, rows), *SHEET, "--replace", "project")
        removed = 0 if number == 0 else 3
        assert (done["added"], done["removed"], len(done["sources"])) == (3, removed, 2), name
        assert {each[2] for each in stored(place)} == {row["price"] for row in rows}


def test_a_source_is_gone_by_its_row(place: Place, tmp_path: Path) -> None:
    place("ingest", written(tmp_path, "it.csv", ROWS), *SHEET)
    path = tmp_path / "gone.csv"
    path.write_text("source_uri,gone,data.fact_text\na,true,\nb,,a pot\n")
    done = place.json("ingest", str(path), *SET, "--replace", "source")
    assert {each["uri"]: (each["gone"], each["added"], each["removed"]) for each in done["sources"]} == {
        "a": (True, 0, 2),
        "b": (False, 1, 1),
    }


@every_format
def test_rows_of_a_source_stand_together_in_a_replace(here: Place, tmp_path: Path, name: str) -> None:
    path = written(tmp_path, name, [*ROWS, {**ROWS[0], "what": "another"}])
    unit, shift = {"jsonl": ("line", 0), "json": ("element", 0), "parquet": ("row", 0)}.get(
        name.split(".")[1], ("row", 1)
    )
    told = here("ingest", path, *SHEET, "--replace", "source", code=1)
    assert f"{unit} {4 + shift}: source 'a' was at {unit} {1 + shift} already; all {unit}s of a source" in told


def test_a_ragged_row_changes_nothing_in_a_replace(place: Place, tmp_path: Path) -> None:
    place("ingest", written(tmp_path, "it.csv", ROWS), *SHEET)
    path = tmp_path / "bad.csv"
    path.write_text("url,what,price,sku,page\n\na,x,1,2,3\nb,y,1\n")
    told = place("ingest", str(path), *MAPPED, *SET, "--rest", "data", "--replace", "source", code=1)
    assert "row 4: has 3 cells, and the header has 5 (line 4 of the file)" in told
    assert stored(place) == STORED


def test_a_service_counts_rows_as_lines_and_the_command_says_so(tmp_path: Path) -> None:
    with open_stores(tmp_path):
        pass
    path = tmp_path / "bad.csv"
    path.write_text('url,what,confidence\n\na,"x\ny",0.5\nb,z,1.5\n')
    options = ("--map", "source_uri=url", "--map", "data.text=what", *SET, "--replace", "source")
    with open_place("there", tmp_path) as place:
        told = place("ingest", str(path), *options, code=1)
    assert "line 4: confidence: must be from 0 to 1" in told
    assert "A line in the service's message is a row of the file." in told


def test_bad_rows_are_skipped_and_kept(place: Place, tmp_path: Path) -> None:
    path, rejects = tmp_path / "bad.csv", tmp_path / "rejects.jsonl"
    path.write_bytes(b'url,what,confidence\na,x,0.5\nb,"y\nz"\nc,caf\xe9,\nd,w,high\ne,v,1\n')
    options = ("--map", "source_uri=url", "--map", "data.text=what", *SET)
    told = place("ingest", str(path), *options, code=1)
    assert "Error: row 3: has 2 cells, and the header has 3 (line 3 of the file)" in told
    assert "Everything before it is stored. Correct the row and run this again" in told
    told = place("ingest", str(path), *options, "--skip-invalid", "--rejects", str(rejects), code=3)
    assert "Refused 3 rows; the first is row 3: has 2 cells" in told
    kept = [json.loads(line) for line in rejects.read_text().splitlines()]
    assert [(each["line"], each["raw"]) for each in kept] == [
        (3, 'b,"y\nz"'),
        (4, "c,caf�,"),
        (5, "d,w,high"),
    ]
    assert "confidence: 'high' isn't a number" in kept[2]["reason"]
    assert len(place.hits("x", "--limit", "9")) == 2


def test_columns_that_nobody_has_named_are_refused_before_anything(here: Place, tmp_path: Path) -> None:
    for name in ("it.csv", "it.parquet"):
        told = here("ingest", written(tmp_path, name, ROWS), *MAPPED, *SET, code=1)
        assert f"{name}: 'id', 'price', 'sku' aren't fields of an extraction." in told
        assert "--rest data; or leave one out with --ignore COLUMN" in told
    for name in ("it.json", "it.jsonl"):
        told = here("ingest", written(tmp_path, name, ROWS), *MAPPED, *SET, code=1)
        assert "1: 'id', 'price', 'sku' aren't fields of an extraction." in told
        assert "Stored nothing" in told


def test_a_wrong_type_is_refused_before_anything(here: Place, tmp_path: Path) -> None:
    path = tmp_path / "it.parquet"
    parquet.write_table(pa.table({"source_uri": [b"a"], "extraction_type": ["t"], "data.x": ["x"]}), path)
    for options in ((), ("--replace", "source"), ("--skip-invalid",)):
        told = here("ingest", str(path), *options, code=1)
        assert "the column 'source_uri' is of the type binary, and source_uri needs text; cast it" in told


def test_a_number_that_isnt_one_never_becomes_null(here: Place, tmp_path: Path) -> None:
    path = tmp_path / "it.parquet"
    columns = {"source_uri": ["a"], "extraction_type": ["t"], "data.x": [float("nan")], "data.text": ["x"]}
    parquet.write_table(pa.table(columns), path)
    assert "row 1: data.x: nan isn't a JSON number" in here("ingest", str(path), code=1)
    told = here("ingest", str(path), "--replace", "source", code=1)
    assert "row 1: not JSON: NaN isn't a JSON number" in told


def test_a_wrong_format_is_told_with_the_command_that_works(here: Place, tmp_path: Path) -> None:
    as_csv(tmp_path / "wrong.jsonl", ROWS)
    told = here("ingest", "wrong.jsonl", *SHEET, code=1)
    assert "wrong.jsonl looks like CSV, not JSON lines; add `--format csv`" in told
    here("ingest", "wrong.jsonl", *told.split("`")[1].split(), *SHEET)
    assert stored(here) == STORED
    replaced = here("ingest", "wrong.jsonl", *SHEET, "--replace", "source", code=1)
    assert "looks like CSV" in replaced


def test_standard_input_is_of_the_format_that_is_said(here: Place, tmp_path: Path) -> None:
    as_json(tmp_path / "it.json", ROWS)
    content = (tmp_path / "it.json").read_bytes()
    told = here("ingest", "-", *SHEET, stdin=content, code=1)
    assert "add `--format json`" in told
    here("ingest", "-", "--format", "json", *SHEET, stdin=content)
    assert stored(here) == STORED
    assert "can't be read from standard input" in here("ingest", "-", "--format", "parquet", stdin=b"x", code=1)


def test_what_was_guessed_is_said(here: Place, tmp_path: Path) -> None:
    path = tmp_path / "it.csv"
    path.write_text("url;what;price, EUR\na;x;1.5\nb;y;1.50\n")
    options = ("--map", "source_uri=url", *SET, "--rest", "data")
    done = here.cli("ingest", str(path), *options, "--json")
    assert json.loads(done.stdout)["new"] == 2
    assert b"separated by semicolons; the header also has commas" in done.stderr
    assert b"such as '1.50'. --number 'price, EUR' takes all as numbers" in done.stderr
    numbers = here("ingest", str(path), *options, "--number", "price, EUR", "--replace", "source")
    assert "--number" not in numbers
    found = {hit["data"]["price, EUR"] for hit in here.hits("x")}
    assert found == {1.5}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--map", "price=price"), "is data.price meant?"),
        (("--map", "data.price"), "--map takes FIELD=COLUMN, not 'data.price'"),
        (("--map", "source_uri="), "--map takes FIELD=COLUMN"),
        (("--map", "source_uri=a", "--map", "source_uri=b"), "--map gives source_uri twice"),
        (("--map", "source_uri=a", "--set", "source_uri=b"), "both give source_uri"),
        (("--set", "type=x"), "'type' isn't a field of an extraction"),
        (("--set", "confidence=high"), "'high' isn't a number"),
        (("--text", "a", "--number", "a"), "both name the column 'a'"),
        (("--rest", "all"), "--rest"),
        (("--format", "xlsx"), "--format"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    here: Place, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    path = written(tmp_path, "it.csv", ROWS)
    assert reason in here("ingest", path, *options, code=2)


def test_the_first_fault_of_a_cut_file_comes_after_what_stands_before(here: Place, tmp_path: Path) -> None:
    content = json.dumps([{**row, "url": f"u{row['id']}"} for row in ROWS]).encode()
    (tmp_path / "cut.json").write_bytes(content[:-30])
    told = here("ingest", "cut.json", *SHEET, code=1)
    assert "Stored 2 new extractions" in told
    assert "cut.json: the array isn't closed: it is cut short after element 2" in told
