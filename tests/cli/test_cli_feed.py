"""``agent-storage changes``, on local stores and on those of a service."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import COMMAND
from support.following import GONE, PAGE, PLACES, Place, open_place, read_twice
from support.waiting import wait_for

from app.domain.changes import FeedPlace
from app.domain.cursors import write_place
from app.exit_codes import INTERRUPTED

pytestmark = pytest.mark.slow

COUNT = 8
"""How many changes the two crawls make."""


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    read_twice(tmp_path)
    with open_place(request.param, tmp_path) as place:
        yield place


def lines(place: Place, *arguments: str) -> list[dict[str, Any]]:
    done = place.cli("changes", *arguments, *place.api, "--json")
    return [json.loads(line) for line in done.stdout.splitlines()]


def without_cursor(change: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in change.items() if name != "cursor"}


def test_the_feed_is_complete_and_in_order(place: Place) -> None:
    found = lines(place)
    assert len(found) == COUNT
    assert [change["number"] for change in found] == sorted(change["number"] for change in found)
    histories = [*place.items("history", PAGE), *place.items("history", GONE)]
    assert sorted(map(str, histories)) == sorted(str(without_cursor(change)) for change in found)


def test_each_cursor_continues_right_after_its_change(place: Place) -> None:
    found = lines(place)
    for at in (0, 3, COUNT - 2, COUNT - 1):
        assert lines(place, "--after", found[at]["cursor"]) == found[at + 1 :]
    assert lines(place, "--limit", "3") == [
        *found[:2],
        {**found[2], "cursor": lines(place, "-n", "3")[2]["cursor"]},
    ]


def test_it_says_where_to_continue(place: Place) -> None:
    told = place("changes", "--limit", "2")
    assert "There are more changes; `--after " in told
    assert "a page about nothing" in place("changes")
    cursor = told.split("`--after ")[1].split("`")[0]
    assert len(lines(place, "--after", cursor)) == COUNT - 2
    assert "These are all changes so far; `--after " in place("changes", "--after", cursor)
    assert GONE in place("changes")


def test_what_is_no_cursor_is_refused(place: Place) -> None:
    assert "--after: wasn't made by this service" in place("changes", "--after", "x", code=2)
    assert "no project 'nowhere'" in place("changes", "-p", "nowhere", code=1)


def test_a_place_that_was_refused_isnt_named_as_one_to_continue_from(place: Place) -> None:
    cursor = write_place(FeedPlace(epoch=1, number=2, taken=0))
    told = place("changes", "--after", cursor, code=1)
    assert "is of another project" in told
    assert "These are all" not in told
    assert "These are all" not in place("changes", "--after", cursor, "-p", "nowhere", code=1)


def test_it_follows_the_feed_until_ctrl_c(place: Place, tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        arguments = [*COMMAND, "changes", "--follow", "--json", *place.api]
        process = subprocess.Popen(
            arguments,
            cwd=place.cli.folder,
            env=place.cli.environment,
            stdout=out,
            stderr=subprocess.PIPE,
        )
    with process:

        def printed() -> list[bytes]:
            return (tmp_path / "out").read_bytes().splitlines()

        wait_for(lambda: len(printed()) == COUNT)
        place("sources", "delete", GONE, "--yes")
        wait_for(lambda: len(printed()) == COUNT + 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == INTERRUPTED
    last = json.loads(printed()[-1])
    assert last["kind"] == "source_deleted"
    assert f"These are all changes so far; `--after {last['cursor']}` continues" in err.decode()
    assert len(err.splitlines()) == 1
    assert lines(place, "--after", last["cursor"]) == []
