"""``agent-storage extractions``, on local stores and on those of a service."""

import asyncio
import fcntl
import json
import os
import re
import shlex
import struct
import subprocess
import termios
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session
from support.cli import COMMAND, Cli
from support.following import PLACES, Place, facts, open_place, open_stores, replace, source_id
from support.rows import store_extractions, writing

from app.domain.ids import project_id_of
from app.models import Extraction, Job
from app.services.storage.repositories.extraction import ExtractionRepository
from containers import Container

pytestmark = pytest.mark.slow

PAGE, OTHER = "https://shop.example/a-page-of-prices?lang=de&sort=name", "https://shop.example/other"
REASON = "the endpoint refused the text"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
ITEM = ("source_uri", "source_group", "extraction_type", "confidence", "metadata", "data")


@dataclass(frozen=True)
class Stored:
    """The ids of what is stored, by text, and of the second run."""

    ids: dict[str, str]
    tuesday: str


async def _store(container: Container) -> Stored:
    """Monday's three are indexed; of Tuesday's, ``one`` waits and the others are set aside.

    ``four`` has no text.
    """
    await replace(container, "monday", [facts(PAGE, "bread", ("open", 0.5), "street", group="shops")])
    tuesday = await container.runs().begin("default", "tuesday")
    [source] = [facts(OTHER, "one", ("two", 0.9), "three", "four")]
    accepted = await container.ingestion().accept("default", source.items, run_id=tuesday.id)
    with writing(container.engine()) as session:
        ExtractionRepository(session).set_aside(dict.fromkeys(accepted.ids[1:], REASON))
        session.execute(update(Extraction).where(Extraction.id == accepted.ids[3]).values(data={}))
        session.execute(delete(Job))  # no worker is to index what waits
    with Session(container.engine()) as session:
        rows = session.query(Extraction).all()
        ids = {row.data.get("fact_text", "four"): str(row.id) for row in rows}
    return Stored(ids, str(tuesday.id))


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    with open_stores(tmp_path) as container:
        return asyncio.run(_store(container))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path, stored: Stored) -> Iterator[Place]:  # noqa: ARG001 - it is there
    with open_place(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def here(tmp_path: Path, stored: Stored) -> Iterator[Place]:  # noqa: ARG001 - likewise
    with open_place("here", tmp_path) as place:
        yield place


def listed(place: Place, *arguments: str) -> set[str]:
    """The texts of what is listed, which is as many as are counted."""
    rows = place.items("extractions", "list", *arguments)
    told = place.json("extractions", "count", *arguments)
    assert (told["project"], told["count"]) == ("default", len(rows))
    return {row["data"].get("fact_text", "four") for row in rows}


def test_every_filter_passes_what_fits(place: Place, stored: Stored) -> None:
    monday, tuesday = {"bread", "open", "street"}, {"one", "two", "three", "four"}
    assert listed(place) == monday | tuesday
    assert listed(place, "--source-group", "shops") == listed(place, "--source-uri", PAGE) == monday
    assert listed(place, "--extraction-type", "none") == set()
    assert listed(place, "--extraction-type", "fact", "--extraction-type", "claim") == monday | tuesday
    assert listed(place, "--run", "monday") == monday
    assert listed(place, "--run", stored.tuesday) == tuesday
    assert listed(place, "--run", "monday", "--run", "tuesday", "--min-confidence", "0.5") == {"open", "two"}
    assert listed(place, "--max-confidence", "0.5") == {"open"}
    assert listed(place, "--where", "fact_text=bread") == {"bread"}
    assert listed(place, "--where", "fact_text=bread", "--where", "fact_text=open") == set()
    assert listed(place, "--indexed") == monday
    assert listed(place, "--not-indexed") == tuesday
    assert listed(place, "--set-aside") == {"two", "three", "four"}
    assert listed(place, "--not-set-aside", "--not-indexed") == {"one"}


def test_every_operator_of_a_condition(place: Place, stored: Stored) -> None:  # noqa: ARG001 - it is there
    for where, texts in (
        ('fact_text starts "b" or fact_text contains open', {"bread", "open"}),
        ("fact_text in (one, two) and confidence exists", {"two"}),
        ("not (fact_text exists)", {"four"}),
        ("confidence < 0.6 or confidence >= 0.9", {"open", "two"}),
        ('group != "shops" and indexed = false and fact_text > one', {"two", "three"}),
        ("created > 2020-01-01 and fact_text <= bread", {"bread"}),
        (f'source = "{PAGE}" and type = fact and metadata.page exists', set()),
    ):
        assert listed(place, "--where", where) == texts, where


def test_a_list_is_in_order(place: Place, stored: Stored) -> None:  # noqa: ARG001 - it is there
    def texts(*options: str) -> list[str]:
        return [row["data"].get("fact_text") for row in place.items("extractions", "list", *options)]

    assert texts("--sort", "fact_text") == ["bread", "one", "open", "street", "three", "two", None][:7]
    assert texts("--sort", "-fact_text", "-n", "2") == ["two", "three"]
    assert texts("--sort=-confidence", "-n", "3")[:2] == ["two", "open"]
    assert set(texts("-n", "4")) == {"one", "two", "three", None}, "the newest first"
    assert "facts aren't sorted by type" in place("extractions", "list", "--sort", "type", code=2)


def test_a_mistyped_path_is_told(place: Place, stored: Stored) -> None:  # noqa: ARG001 - likewise
    said = place("extractions", "list", "--where", "fact_txt = bread")
    assert "Warning: no fact has fact_txt; did you mean fact_text?" in said
    assert "Warning" not in place("extractions", "list", "--where", "fact_text = bread")
    for command in (
        ("extractions", "count"),
        ("search", "bread", "-p", "default"),
        ("export",),
        ("extractions", "delete", "--yes"),
        ("extractions", "delete", "--dry-run"),
        ("extractions", "retry"),
    ):
        assert "did you mean fact_text?" in place(*command, "--where", "fact_txt = bread")


def test_a_dry_run_deletes_nothing(place: Place, stored: Stored) -> None:
    told = place("extractions", "delete", "--where", "fact_text starts o", "--dry-run")
    assert "Would delete 2 extractions" in told
    would = place.json("extractions", "delete", "--all", "--dry-run")
    assert would == {"project": "default", "deleted": 7, "jobs": [], "dry_run": True, "warnings": []}
    assert "--dry-run is only for filters" in place(
        "extractions", "delete", stored.ids["one"], "--dry-run", code=2
    )
    assert len(listed(place)) == 7


def test_extractions_are_counted_by_their_fields(place: Place, stored: Stored) -> None:
    told = place("extractions", "count", "--by", "group", "--by", "fact_text", "-n", "2")
    for part in ("shops", "(absent)", "bread", "(other values: 4)", "7 extractions in total"):
        assert part in told
    found = place.json("extractions", "count", "--by", "run", "--where", "fact_text exists")
    assert (found["project"], found["count"]) == ("default", 6)
    [facet] = found["facets"]
    assert {each["count"] for each in facet["values"]} == {3}
    assert stored.tuesday in {each["value"] for each in facet["values"]}
    assert "facts can't be counted by confidence" in place("extractions", "count", "--by", "confidence", code=1)


def test_a_project_is_described(place: Place, stored: Stored) -> None:  # noqa: ARG001 - likewise
    told = place("projects", "describe", "default")
    assert "fact: 7 extractions" in told
    assert "fact_text" in told
    found = place.json("projects", "describe", "default")
    [field] = found["types"][0]["fields"]
    assert (found["sampled"], found["whole"], field["path"], field["facts"]) == (7, True, "fact_text", 6)


def test_json_has_the_flat_fields_of_an_item_and_goes_back_in(place: Place, stored: Stored) -> None:
    [row] = place.items("extractions", "list", "--where", "fact_text=two")
    assert row == {
        "id": stored.ids["two"],
        "project_id": str(project_id_of("default")),
        "project": "default",
        "source": {"id": source_id(OTHER), "uri": OTHER, "group": None},
        "source_uri": OTHER,
        "source_group": None,
        "extraction_type": "fact",
        "confidence": 0.9,
        "metadata": None,
        "data": {"fact_text": "two"},
        "created_at": row["created_at"],
        "changed_at": None,
        "indexed": False,
        "set_aside_reason": REASON,
        "first_run_id": stored.tuesday,
        "last_run_id": stored.tuesday,
    }
    rows = place.items("extractions", "list", "--indexed")
    lines = "".join(json.dumps({name: row[name] for name in ITEM}) + "\n" for row in rows).encode()
    place("ingest", "-", "-p", "copy", stdin=lines)
    copied = place.items("extractions", "list", "-p", "copy")
    assert {row["project"] for row in copied} == {"copy"}
    assert {row["data"]["fact_text"]: row["confidence"] for row in copied} == {
        row["data"]["fact_text"]: row["confidence"] for row in rows
    }


def test_a_list_says_whether_there_are_more(place: Place) -> None:
    assert "There are more than these 3" in place("extractions", "list", "-n", "3")
    assert "There are more" not in place("extractions", "list", "-n", "7")
    assert len(place.items("extractions", "list", "-n", "6")) == 6
    assert "No such extractions in project default" in place("extractions", "list", "--extraction-type", "none")


@pytest.mark.parametrize("kind", PLACES)
def test_any_number_is_listed_page_by_page(tmp_path: Path, kind: str) -> None:
    with open_stores(tmp_path) as container, writing(container.engine()) as session:
        ids = store_extractions(session, 2_100, "many")
    with open_place(kind, tmp_path) as place:
        for limit in (1_001, 5_000):
            rows = place.items("extractions", "list", "-p", "many", "-n", str(limit))
            # They came at once, so that their ids decide.
            assert [UUID(row["id"]) for row in rows] == ids[::-1][:limit]


def test_one_is_shown_whole(place: Place, stored: Stored) -> None:
    shown = place("extractions", "show", stored.ids["two"])
    for part in (
        stored.ids["two"],
        "default",
        OTHER,
        "set aside",
        REASON,
        stored.tuesday,
        '"fact_text": "two"',
    ):
        assert part in shown
    [row] = place.items("extractions", "list", "--where", "fact_text=two")
    assert place.json("extractions", "show", stored.ids["two"]) == row
    unknown = str(uuid4())
    assert f"no extraction {unknown!r}" in place("extractions", "show", unknown, code=1)


def test_what_is_deleted_can_not_be_found_any_more(place: Place, stored: Stored) -> None:
    assert "bread" in place.found("bread")
    told = place("extractions", "delete", "--run", "monday", stdin=b"n\n", code=1)
    assert "Delete 3 extractions of project 'default'?" in told
    assert "nothing was deleted" in told
    assert "Deleted 1 extraction" in place("extractions", "delete", stored.ids["bread"], "--yes")
    assert place.found("bread") == ["open", "street"]
    told = place("extractions", "delete", stored.ids["bread"], stored.ids["one"], "--yes", code=1)
    assert "Deleted 1 extraction" in told
    assert "has no extractions with 1 of these 2 ids" in told
    deleted = place.json("extractions", "delete", "--set-aside", "--yes")
    assert (deleted["project"], deleted["deleted"], deleted["dry_run"]) == ("default", 3, False)
    assert listed(place) == {"open", "street"}
    assert "nothing was deleted" in place("extractions", "delete", "--extraction-type", "none")
    assert "Deleted 2 extractions" in place("extractions", "delete", "--all", stdin=b"y\n")
    assert place.found("bread") == []
    assert listed(place) == set()


def test_jobs_that_waited_before_are_not_counted_as_tried_again(
    here: Place, stored: Stored, tmp_path: Path
) -> None:
    with open_stores(tmp_path) as container:
        items = facts("file:more", "five", "six").items
        asyncio.run(container.ingestion().accept("default", items))
    told = here.json("extractions", "retry", stored.ids["two"])
    assert (told["retried"], told["indexed"], told["waiting"]) == (1, 1, 0)
    assert {"five", "six"} <= listed(here, "--indexed")


def test_conditions_that_contradict_each_other_delete_nothing(place: Place) -> None:
    both = ("--where", "fact_text=bread", "--where", "fact_text=open")
    assert "nothing was deleted" in place("extractions", "delete", *both, "--yes")
    assert "nothing was retried" in place("extractions", "retry", *both)
    assert len(listed(place)) == 7


def test_what_was_set_aside_is_tried_again(place: Place, stored: Stored) -> None:
    assert "Retried 1 extraction: indexed 1, set aside again 0." in place(
        "extractions", "retry", "--min-confidence", "0.9"
    )
    assert "two" in place.found("two")
    told = place.json("extractions", "retry", stored.ids["four"])
    [again] = told["set_aside_again"]
    assert (told["retried"], told["indexed"], told["set_aside"], told["waiting"]) == (1, 0, 1, 0)
    assert again["id"] == stored.ids["four"]
    assert again["reason"] != REASON
    told_so = place("extractions", "retry")
    assert "Retried 2 extractions: indexed 1, set aside again 1." in told_so
    assert again["reason"].split()[0] in told_so
    assert stored.ids["four"] in told_so
    assert OTHER in told_so
    assert listed(place, "--set-aside") == {"four"}
    assert "nothing was retried" in place("extractions", "retry", "--run", "monday")
    told_why = place("extractions", "retry", "--not-set-aside", code=1)
    assert "only extractions that are set aside can be retried" in told_why


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("list", "--where", "n"), "expected an operator"),
        (("list", "--source-group", " "), "--source-group"),
        (("count", "--source-uri", "x" * 8_001), "--source-uri"),
        (("list", "--run", ""), "--run"),
        (("list", "-n", "0"), "must be at least 1"),
        (("show", "nonsense"), "UUID"),
        (("delete",), "give exactly one of"),
        (("delete", str(uuid4()), "--all"), "give exactly one of"),
        (("delete", "--extraction-type", "fact", "--all"), "give exactly one of"),
        (("retry", str(uuid4()), "--extraction-type", "fact"), "not both"),
    ],
)
def test_wrong_arguments_are_told(here: Place, arguments: tuple[str, ...], told: str) -> None:
    assert told in here("extractions", *arguments, code=2)


def test_a_run_or_project_that_is_not_there_is_named(place: Place) -> None:
    for command in ("list", "count", "retry"):
        assert "no run 'friday'" in place("extractions", command, "--run", "friday", code=1)
        assert "no project 'nowhere'" in place("extractions", command, "-p", "nowhere", code=1)
    assert "no run 'friday'" in place("extractions", "delete", "--run", "friday", "--yes", code=1)
    assert "no run 'friday'" in place("search", "bread", "-p", "default", "--run", "friday", code=1)
    assert "--run requires --project" in place("search", "bread", "--run", "monday", code=2)


def test_a_run_narrows_a_search(place: Place) -> None:
    assert len(place.hits("bread", "-p", "default", "--run", "monday")) == 3
    assert place.hits("bread", "-p", "default", "--run", "tuesday") == []


def test_extractions_are_listed_while_another_process_has_the_index(here: Place, tmp_path: Path) -> None:
    with open_stores(tmp_path):
        assert len(listed(here)) == 7


# --- terminals and pipes --------------------------------------------------------------------------


def on_a_terminal(cli: Cli, columns: int, *arguments: str) -> list[str]:
    """The lines that a terminal of that width gets, without their colours."""
    reader, writer = os.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**cli.environment, "TERM": "xterm", "COLUMNS": "", "LINES": ""}
    with subprocess.Popen(
        [*COMMAND, *arguments], cwd=cli.folder, env=environment, stdout=writer, stderr=subprocess.DEVNULL
    ):
        os.close(writer)
        pieces = list[bytes]()
        try:
            while piece := os.read(reader, 65_536):
                pieces.append(piece)
        except OSError:  # how a terminal on Linux says that it was closed
            pass
    os.close(reader)
    return _COLOURS.sub("", b"".join(pieces).decode()).splitlines()


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
@pytest.mark.parametrize("command", ["list", "search"])
def test_a_table_fits_the_terminal_and_has_each_uri_whole(here: Place, columns: int, command: str) -> None:
    arguments = ("extractions", "list", "--indexed") if command == "list" else ("search", "bread")
    lines = on_a_terminal(here.cli, columns, *arguments)
    assert lines
    assert max(map(len, lines)) <= columns
    place = -2 if columns >= 80 else {"list": 1, "search": 2}[command]  # narrow ones have it below the text
    cells = "".join(line.split("│")[place].strip() for line in lines if "│" in line)
    assert PAGE in cells
    assert columns < 80 or "…" not in cells
    if command == "list" and columns >= 80:
        for row in here.items("extractions", "list", "--indexed"):
            assert any(row["id"] in line for line in lines)


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_pipe_that_closes_early_ends_it_quietly(here: Place, tmp_path: Path, form: tuple[str, ...]) -> None:
    with open_stores(tmp_path) as container, writing(container.engine()) as session:
        store_extractions(session, 3_000, "many")
    command = shlex.join([*COMMAND, "extractions", "list", "-p", "many", "-n", "3000", *form])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} | head -1"],
        cwd=here.cli.folder,
        env=here.cli.environment,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == b""


def test_an_order_and_a_type_that_no_fact_has_are_warned_of(place: Place) -> None:
    assert "Warning: no fact has fact_txt; did you mean fact_text?" in place(
        "extractions", "list", "--sort", "fact_txt"
    )
    told = place("extractions", "count", "--extraction-type", "fcat")
    assert 'Warning: no fact has the type "fcat"; did you mean fact?' in told
