"""``agent-storage ingest --replace``: here, and by a service; and the run that it is."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.following import PLACES, Place, open_place, open_stores

pytestmark = pytest.mark.slow


def fact(source: str, text: str, **changes: Any) -> dict[str, Any]:
    return {"source_uri": source, "extraction_type": "fact", "data": {"fact_text": text}} | changes


FIRST = [fact("a", "35 euro"), fact("a", "open", confidence=0.5), fact("a", "red"), fact("b", "old")]
SECOND = [
    fact("a", "36 euro"),
    fact("a", "open", confidence=0.9),
    fact("a", "red"),
    {"source_uri": "b", "gone": True},
]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with open_stores(tmp_path):
        pass
    with open_place(request.param, tmp_path) as place:
        yield place


def lines(folder: Path, name: str, items: list[dict[str, Any]]) -> str:
    (folder / name).write_text("\n" + "".join(json.dumps(item) + "\n" for item in items))
    return str(folder / name)


def totals(answer: dict[str, Any]) -> tuple[int, int, int, int]:
    return answer["added"], answer["changed"], answer["unchanged"], answer["removed"]


def test_the_nightly_crawl(place: Place, tmp_path: Path) -> None:
    first, second = lines(tmp_path, "1.jsonl", FIRST), lines(tmp_path, "2.jsonl", SECOND)
    assert totals(place.json("ingest", first, "--replace", "source", "--run", "one")) == (4, 0, 0, 0)
    tried = place.json("ingest", second, "--replace", "source", "--run", "two", "--dry-run")
    assert (totals(tried), tried["jobs"], tried["run_id"]) == ((1, 1, 1, 2), [], None)
    done = place.json(
        "ingest", second, "--replace", "source", "--run", "two", "--run-meta", "model=m", "--run-meta", "a=b=c"
    )
    assert totals(done) == totals(tried)
    assert done["sources"] == [{**each, "facts": None} for each in tried["sources"]]
    assert {each["uri"]: each["gone"] for each in done["sources"]} == {"a": False, "b": True}
    shown = place.json("runs", "show", "two")
    assert (shown["id"], shown["metadata"], totals(shown)) == (
        done["run_id"],
        {"model": "m", "a": "b=c"},
        totals(done),
    )
    assert shown["ended_at"] is not None
    found = place.hits("euro", "-n", "10")
    texts = {hit["data"]["fact_text"] for hit in found}
    assert texts == {"36 euro", "open", "red"}
    assert place.hits("euro", "--project", "default", "--source-uri", "b") == []
    assert len(place.hits("euro", "--project", "default", "--source-uri", "a")) == 3
    place("runs", "undo", "two", "--yes")
    texts = {hit["data"]["fact_text"] for hit in place.hits("euro", "-n", "10")}
    assert texts == {"35 euro", "open", "red", "old"}


def test_a_dry_run_lists_what_would_change(place: Place, tmp_path: Path) -> None:
    first, second = lines(tmp_path, "1.jsonl", FIRST), lines(tmp_path, "2.jsonl", SECOND)
    place("ingest", first, "--replace", "source", "-p", "default")
    told = place("ingest", second, "--replace", "source", "--dry-run")
    for kind, text in (("added", "36 euro"), ("changed", "open"), ("removed", "35 euro"), ("removed", "old")):
        assert f"{kind} {text} " in " ".join(told.replace("│", " ").split())
    assert "red" not in told.split("Nothing was changed.")[1].split("source and id")[1].split()
    tried = place.json("ingest", second, "--replace", "source", "--dry-run")
    a, b = tried["sources"]
    assert [(fact["kind"], fact["data"]["fact_text"]) for fact in a["facts"]] == [
        ("added", "36 euro"),
        ("changed", "open"),
        ("removed", "35 euro"),
    ]
    ids = {row["data"]["fact_text"]: row["id"] for row in place.items("extractions", "list")}
    assert [(fact["kind"], fact["id"]) for fact in b["facts"]] == [("removed", ids["old"])]


def test_a_dry_run_lists_the_first_and_counts_the_others(place: Place, tmp_path: Path) -> None:
    many = lines(tmp_path, "3.jsonl", [fact(f"s{number}", "same") for number in range(50)])
    assert "And 30 more; --json lists all." in place("ingest", many, "--replace", "source", "--dry-run")
    told = place.json("ingest", many, "--replace", "source", "--dry-run")
    assert sum(len(source["facts"]) for source in told["sources"]) == 50


def test_the_whole_project_from_a_compressed_file(place: Place, tmp_path: Path) -> None:
    place("ingest", lines(tmp_path, "1.jsonl", FIRST), "--replace", "source")
    path = tmp_path / "2.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(item) + "\n" for item in FIRST[:3]).encode()))
    printed = place("ingest", str(path), "--replace", "project")
    assert "0 added, 0 changed, 3 unchanged, 1 removed" in printed


def test_what_is_wrong_is_told_by_its_line_and_changes_nothing(place: Place, tmp_path: Path) -> None:
    place("ingest", lines(tmp_path, "1.jsonl", FIRST), "--replace", "source")
    wrong = lines(tmp_path, "2.jsonl", [*SECOND, fact("a", "again")])
    told = place("ingest", wrong, "--replace", "project", "--allow-mass-delete", code=1)
    assert "line 6: source 'a' was at line 2 already" in told
    many = lines(tmp_path, "3.jsonl", [fact("a", f"{number}") for number in range(60)])
    place("ingest", many, "--replace", "source")
    few = lines(tmp_path, "4.jsonl", [fact("a", "1")])
    told = place("ingest", few, "--replace", "source", code=1)
    assert "59 of the 60 facts of source 'a'" in told
    assert "--allow-mass-delete" in told
    other = lines(tmp_path, "4b.jsonl", [fact("z-new", "x")])
    told = place("ingest", other, "--replace", "project", code=1)
    assert "Replaced" not in told
    assert "this would remove" in told
    assert "z-new" not in place("sources", "list")
    late = ("--observed-at", "2020-01-01T00:00:00Z")
    assert "an older observation never replaces a newer one" in place(
        "ingest", many, "--replace", "source", *late, code=1
    )
    empty = lines(tmp_path, "5.jsonl", [])
    assert "empty" in place("ingest", empty, "--replace", "project", code=1) or place.api
    assert totals(place.json("ingest", many, "--replace", "source")) == (0, 0, 60, 0)


@pytest.mark.parametrize(
    "options",
    [
        ("--dry-run",),
        ("--allow-mass-delete",),
        ("--observed-at", "2026-01-01T00:00:00Z"),
        ("--replace", "all"),
        ("--replace", "source", "--skip-invalid"),
        ("--replace", "source", "--observed-at", "2026-01-01T00:00:00"),
        ("--run-meta", "a=b"),
        ("--run", "x", "--run-meta", "a"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    with open_place(PLACES[0], tmp_path) as place:
        place("ingest", lines(tmp_path, "1.jsonl", FIRST), *options, code=2)
