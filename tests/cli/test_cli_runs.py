"""``agent-storage runs``, on local stores and on those of a service."""

import asyncio
import re
import shlex
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.following import GONE, PAGE, PLACES, Place, facts, open_place, open_stores, read_twice, replace
from support.waiting import wait_for

from containers import Container

pytestmark = pytest.mark.slow

MONDAY_FACTS = [
    "a page about nothing",
    "in the main street",
    "open from nine to five",
    "the bread costs 35 euro",
]
TUESDAY_FACTS = ["in the main street", "open from nine to five", "the bread costs 36 euro"]


@dataclass(frozen=True)
class Read:
    """The commands, after two readings."""

    place: Place
    monday: str
    tuesday: str


@pytest.fixture(params=PLACES)
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Read]:
    runs = read_twice(tmp_path)
    with open_place(request.param, tmp_path) as place:
        yield Read(place, *runs)


def test_runs_are_listed_the_newest_first(read: Read) -> None:
    rows = read.place.items("runs", "list")
    assert [(row["name"], row["id"]) for row in rows] == [
        ("tuesday", read.tuesday),
        ("monday", read.monday),
    ]
    assert [row["name"] for row in read.place.items("runs", "list", "--limit", "1")] == ["tuesday"]
    table = read.place("runs", "list")
    assert read.monday in table
    assert "tuesday" in table
    assert "no project 'nowhere'" in read.place("runs", "list", "-p", "nowhere", code=1)


def test_a_run_is_shown_by_its_name_and_by_its_id(read: Read) -> None:
    shown = read.place.json("runs", "show", "tuesday")
    assert shown == read.place.json("runs", "show", read.tuesday)
    counts = {key: shown[key] for key in ("added", "changed", "unchanged", "removed")}
    assert counts == {"added": 1, "changed": 1, "unchanged": 1, "removed": 2}
    assert shown["metadata"] == {"model": "m-1", "temperature": 0}
    assert shown["ended_at"]
    assert "metadata model m-1" in read.place("runs", "show", "tuesday")
    assert "no run 'friday'" in read.place("runs", "show", "friday", code=1)


def test_diff_shows_what_a_run_added_changed_and_removed(read: Read) -> None:
    changes = read.place.items("runs", "diff", "tuesday")
    assert Counter(change["kind"] for change in changes) == {"added": 1, "changed": 1, "removed": 2}
    [changed] = [change for change in changes if change["kind"] == "changed"]
    assert changed["before"]["confidence"] == 0.5
    assert changed["extraction"]["confidence"] == 0.9
    removed = {each["before"]["data"]["fact_text"] for each in changes if each["kind"] == "removed"}
    assert removed == {"the bread costs 35 euro", "a page about nothing"}
    printed = read.place.cli("runs", "diff", "tuesday", *read.place.api).stdout.decode()
    assert max(map(len, printed.splitlines())) <= 120
    table = read.place("runs", "diff", "tuesday")
    assert "the bread costs 36 euro" in table
    assert "(confidence was" in table
    assert GONE in table
    assert "beginning" not in table


def test_diff_says_when_there_is_more(read: Read) -> None:
    assert len(read.place.items("runs", "diff", "tuesday", "--limit", "1")) == 1
    assert "There are more than these 1" in read.place("runs", "diff", "tuesday", "--limit", "1")
    assert "There are more" not in read.place("runs", "diff", "tuesday", "--limit", "4")


def test_undo_puts_back_what_is_found_and_can_be_undone(read: Read) -> None:
    place = read.place
    assert place.found("bread") == TUESDAY_FACTS
    assert "nothing was undone" in place("runs", "undo", "tuesday", stdin=b"n\n", code=1)
    assert place.found("bread") == TUESDAY_FACTS
    told = place("runs", "undo", "tuesday", "--yes")
    assert "restored 2 extractions, changed back 1, removed 1." in told
    assert "Left" not in told
    assert place.found("bread") == MONDAY_FACTS
    assert place.json("sources", "show", GONE)["extractions"] == 1
    undoing = place.items("runs", "list", "--limit", "1")[0]
    assert undoing["undoes"] == read.tuesday
    undone = place.json("runs", "undo", undoing["id"], "--yes")
    assert (undone["added"], undone["changed"], undone["removed"], undone["left_alone"]["count"]) == (
        1,
        1,
        2,
        0,
    )
    assert place.found("bread") == TUESDAY_FACTS


def test_a_second_undo_says_that_the_run_is_already_undone_and_changes_nothing(read: Read) -> None:
    place = read.place
    undoing = place.json("runs", "undo", "tuesday", "--yes")
    assert undoing["already_undone"] is False
    before = place.items("runs", "list")
    told = place("runs", "undo", "tuesday", "--yes")
    assert "Run tuesday is already undone; nothing was changed." in told
    assert f"The undo is run {undoing['undone_by']};" in told
    again = place.json("runs", "undo", "tuesday", "--yes")
    assert again == {**undoing, "already_undone": True, "added": 0, "changed": 0, "removed": 0, "jobs": []}
    assert place.items("runs", "list") == before
    assert place.found("bread") == MONDAY_FACTS


def test_an_undo_says_that_another_run_has_the_name(read: Read) -> None:
    """A command that was interrupted and is run again makes a second run of the same name."""
    place = read.place
    [older] = [run["id"] for run in place.items("runs", "list") if run["name"] == "tuesday"]
    new = b'{"source_uri": "doc:9", "extraction_type": "claim", "data": {"text": "new bread"}}'
    place("ingest", "-", "--run", "tuesday", stdin=new)
    assert f"Another run is named tuesday: `agent-storage runs undo {older}" in place(
        "runs", "undo", "tuesday", "--yes"
    )
    assert "Another run" not in place("runs", "undo", older, "--yes")


def hinted(told: str) -> list[str]:
    """The command that an output names, as a shell splits it."""
    [command] = re.findall("`agent-storage (.+?)`", told)
    return shlex.split(command)


def test_the_commands_in_hints_work_when_pasted(read: Read) -> None:
    place, fact = read.place, b'{"source_uri": "a", "extraction_type": "fact", "data": {"fact_text": "bread"}}'
    in_project = ("--project", "another")
    for replacing in ((), ("--replace", "source")):
        told = place("ingest", "-", *in_project, "--run", "x", *replacing, stdin=fact)
        told = place.cli(*hinted(told), "--yes").stdout.decode()
        assert "removed 1" in told
        told = place.cli(*hinted(told), "--yes").stdout.decode()
        assert "restored 1 extraction" in told
        place("extractions", "delete", "--all", *in_project, "--yes")


def test_a_history_names_runs_as_the_list_does(read: Read) -> None:
    told = read.place("history", PAGE)
    assert "tuesday" in told
    assert read.tuesday in told


@pytest.mark.parametrize("kind", PLACES)
def test_undo_names_what_it_left_alone(tmp_path: Path, kind: str) -> None:
    read_twice(tmp_path)
    later = facts(PAGE, "the bread costs 37 euro", ("open from nine to five", 0.7), group="shops")
    with open_stores(tmp_path) as container:
        asyncio.run(replace(container, "wednesday", [later]))
    with open_place(kind, tmp_path) as place:
        told = place("runs", "undo", "tuesday", "--yes")
        assert "alone, because they were changed after that run" in told
        [opening] = [
            change["extraction_id"]
            for change in place.items("runs", "diff", "tuesday")
            if change["kind"] == "changed"
        ]
        assert opening in told
        assert place.found("bread") == [
            "a page about nothing",
            "open from nine to five",
            "the bread costs 35 euro",
            "the bread costs 37 euro",
        ]


@pytest.mark.parametrize("kind", PLACES)
def test_undo_names_the_first_that_it_left_alone_and_counts_the_others(tmp_path: Path, kind: str) -> None:
    async def read(container: Container) -> None:
        texts = [f"fact {number}" for number in range(1_200)]
        await replace(container, "monday", [facts(PAGE, *((text, 0.1) for text in texts))])
        await replace(container, "tuesday", [facts(PAGE, *((text, 0.2) for text in texts))])
        await replace(container, "wednesday", [facts(PAGE, *((text, 0.3) for text in texts))])

    with open_stores(tmp_path) as container:
        asyncio.run(read(container))
    with open_place(kind, tmp_path) as place:
        undone = place.json("runs", "undo", "tuesday", "--yes")
        assert (undone["changed"], undone["left_alone"]["count"]) == (0, 1_200)
        assert len(undone["left_alone"]["items"]) >= 1_000
        assert "Left 1,200 alone" in place("runs", "undo", "monday", "--yes")


@pytest.mark.parametrize("kind", PLACES)
def test_a_name_that_no_path_can_hold_and_pages_of_runs_and_changes(tmp_path: Path, kind: str) -> None:
    name, count = "nightly/2026 ü?#%", 1_005

    async def read(container: Container) -> None:
        await replace(container, name, [facts(f"doc:{number}", "same") for number in range(count)])
        for _ in range(count):
            await container.runs().begin("default", "empty")

    with open_stores(tmp_path) as container:
        asyncio.run(read(container))
    with open_place(kind, tmp_path) as place:
        assert place.json("runs", "show", name)["added"] == count
        assert len(place.items("runs", "list", "--limit", "2000")) == count + 1
        assert len(place.items("runs", "diff", name, "--limit", "2000")) == count
        assert len(place.items("runs", "diff", name, "--limit", "1002")) == 1_002
        assert len(place.items("sources", "list", "--limit", "2000")) == count
        assert len(place.items("sources", "list", "--limit", "1002")) == 1_002
        assert "no run 'other/name'" in place("runs", "show", "other/name", code=1)


def test_runs_are_read_while_another_process_has_the_index(tmp_path: Path) -> None:
    read_twice(tmp_path)
    with open_place("here", tmp_path) as place, open_stores(tmp_path):
        assert len(place.items("runs", "list")) == 2
        assert place.json("runs", "show", "monday")["added"] == 4
        assert len(place.items("runs", "diff", "monday")) == 4


def count_extractions(folder: Path) -> int:
    """How many are stored, read fast."""
    path = folder / "data" / "agent-storage.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        [(count,)] = connection.execute("SELECT count(*) FROM extractions")
    return int(count)


def test_an_undo_that_is_interrupted_goes_on_when_it_is_called_again(tmp_path: Path) -> None:
    """Each source is back or isn't, and afterwards all are, with their vectors."""
    sources, each = 400, 20
    uris = [f"https://example.org/{number}" for number in range(sources)]

    async def read(container: Container) -> None:
        texts = [f"fact {number}" for number in range(each)]
        await replace(container, "monday", [facts(uri, *texts) for uri in uris])
        await replace(container, "tuesday", [facts(uri) for uri in uris])

    with open_stores(tmp_path) as container:
        asyncio.run(read(container))
    with open_place("here", tmp_path) as place:
        process = place.cli.start("runs", "undo", "tuesday", "--yes")
        wait_for(lambda: count_extractions(tmp_path))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in err
        place("runs", "undo", "tuesday", "--yes")
        assert {row["extractions"] for row in place.items("sources", "list", "--limit", "1000")} == {each}
        verified = place.json("verify")
        assert (verified["points"], verified["remaining"]) == (sources * each, 0)
