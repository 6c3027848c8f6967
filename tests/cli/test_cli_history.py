"""``agent-storage history``, on local stores and on those of a service."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.following import (
    GONE,
    MONDAY,
    PAGE,
    PLACES,
    TUESDAY,
    Place,
    open_place,
    open_stores,
    read_twice,
    replace,
    source_id,
)
from support.rows import writing

from app.domain.ids import project_id_of
from app.services.storage.repositories.ledger import LedgerRepository

pytestmark = pytest.mark.slow


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    read_twice(tmp_path)
    with open_place(request.param, tmp_path) as place:
        yield place


def kinds(place: Place, *arguments: str) -> list[str]:
    return [change["kind"] for change in place.items("history", *arguments)]


def test_the_history_of_a_source_by_its_uri_and_by_its_id(place: Place) -> None:
    assert kinds(place, GONE) == ["removed", "added"]
    assert sorted(kinds(place, PAGE)) == sorted(["removed", "changed", "added", *["added"] * 3])
    assert kinds(place, PAGE)[-3:] == ["added"] * 3
    assert "open from nine to five (confidence was 0.5)" in place("history", PAGE)
    assert place.items("history", PAGE) == place.items("history", source_id(PAGE))
    table = place("history", GONE)
    assert table.count("a page about nothing") == 2
    assert table.index("tuesday") < table.index("monday")
    assert "beginning" not in table


def test_times_are_written_as_in_the_api(place: Place) -> None:
    removed = place.items("history", GONE)[0]
    [project] = place.items("projects", "list")
    times = [
        removed["at"],
        removed["before"]["created_at"],
        project["created_at"],
        place.items("extractions", "list")[0]["created_at"],
        place.json("sources", "show", PAGE)["observed_at"],
        place.json("runs", "show", "tuesday")["begun_at"],
        place.items("jobs", "list")[0]["created_at"],
    ]
    assert all(time.endswith("Z") for time in times), times


def test_the_history_of_an_extraction_also_of_one_that_is_gone(place: Place) -> None:
    gone = place.items("history", GONE)[0]["extraction_id"]
    assert kinds(place, gone) == ["removed", "added"]
    assert kinds(place, gone, "--limit", "1") == ["removed"]
    assert "There are more than these 1" in place("history", gone, "--limit", "1")


def test_the_history_of_a_source_that_was_deleted(place: Place) -> None:
    place("sources", "delete", PAGE, "--yes")
    assert kinds(place, PAGE)[0] == "source_deleted"
    table = place.cli("history", PAGE, *place.api).stdout.decode().splitlines()
    assert PAGE in "".join(row.split("│")[3].strip() for row in table if row.startswith("│"))


def test_what_never_was_has_no_history(place: Place) -> None:
    assert "no source 'https://unknown.example'" in place("history", "https://unknown.example", code=1)
    unknown = source_id("unknown")
    assert f"no source or extraction '{unknown}'" in place("history", unknown, code=1)
    assert "no project 'nowhere'" in place("history", PAGE, "-p", "nowhere", code=1)


def test_a_history_that_was_pruned_says_so(tmp_path: Path) -> None:
    with open_stores(tmp_path) as container:
        asyncio.run(replace(container, "monday", MONDAY))
        with writing(container.engine()) as session:
            assert LedgerRepository(session).prune(project_id_of("default"), older_than_s=-1) == 2
        asyncio.run(replace(container, "tuesday", TUESDAY))
    with open_place("here", tmp_path) as place:
        assert "The history is incomplete" in place("history", PAGE)
        assert sorted(kinds(place, PAGE)) == ["added", "changed", "removed"]
        assert "There are more" in place("history", PAGE, "--limit", "1")


def test_a_history_is_read_while_another_process_has_the_index(tmp_path: Path) -> None:
    read_twice(tmp_path)
    with open_place("here", tmp_path) as place, open_stores(tmp_path):
        assert kinds(place, GONE) == ["removed", "added"]
