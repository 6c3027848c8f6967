"""``agent-storage sources``, on local stores and on those of a service."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.following import (
    GONE,
    PAGE,
    PLACES,
    Place,
    facts,
    open_place,
    open_stores,
    read_twice,
    replace,
    source_id,
)

pytestmark = pytest.mark.slow


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """After two readings: a page with three facts, and one that is gone."""
    read_twice(tmp_path)
    with open_place(request.param, tmp_path) as place:
        yield place


def uris(place: Place, *arguments: str) -> set[str]:
    return {row["uri"] for row in place.items("sources", "list", *arguments)}


def test_sources_are_listed_by_filters(place: Place) -> None:
    assert uris(place) == {PAGE, GONE}
    assert uris(place, "--gone") == {GONE}
    assert uris(place, "--not-gone") == {PAGE}
    assert uris(place, "--source-group", "shops") == {PAGE}
    assert uris(place, "--source-group", "nowhere") == set()
    assert uris(place, "--uri-prefix", "https://shop.example/g") == {GONE}
    assert len(place.items("sources", "list", "--limit", "1")) == 1
    assert "There are more than these 1" in place("sources", "list", "--limit", "1")
    assert "There are more" not in place("sources", "list", "--limit", "2")
    assert "No such sources" in place("sources", "list", "--source-group", "nowhere")
    assert "no project 'nowhere'" in place("sources", "list", "-p", "nowhere", code=1)


def test_a_table_has_each_uri_whole(place: Place) -> None:
    printed = place.cli("sources", "list", *place.api).stdout.decode()
    assert PAGE in printed
    assert max(map(len, printed.splitlines())) <= 120


def test_a_source_is_shown_by_its_uri_and_by_its_id(place: Place) -> None:
    shown = place.json("sources", "show", PAGE)
    assert shown == place.json("sources", "show", source_id(PAGE))
    assert shown == next(row for row in place.items("sources", "list") if row["uri"] == PAGE)
    assert {key: shown[key] for key in ("id", "group", "extractions", "gone")} == {
        "id": source_id(PAGE),
        "group": "shops",
        "extractions": 3,
        "gone": False,
    }
    assert shown["observed_at"]
    assert f"gone {'yes'}" in place("sources", "show", GONE)
    told = place("sources", "show", "https://shop.example/unknown", code=1)
    assert "no source 'https://shop.example/unknown'" in told


def test_a_deleted_source_can_not_be_found_any_more(place: Place) -> None:
    assert place.found("bread")
    assert "nothing was deleted" in place("sources", "delete", PAGE, stdin=b"n\n", code=1)
    assert uris(place) == {PAGE, GONE}
    told = place("sources", "delete", PAGE, "--yes")
    assert f"Deleted source {PAGE}: 3 extractions" in told
    assert uris(place) == {GONE}
    assert place.found("bread") == []
    deleted = place.json("sources", "delete", source_id(GONE), "--yes")
    assert (deleted["source_id"], deleted["source_uri"], deleted["deleted"]) == (source_id(GONE), GONE, 0)
    assert "no source" in place("sources", "delete", PAGE, "--yes", code=1)


def test_sources_without_facts_are_pruned(place: Place) -> None:
    assert "nothing was deleted" in place("sources", "prune", stdin=b"n\n", code=1)
    assert place.json("sources", "prune", "--yes") == {"project": "default", "pruned": 1}
    assert uris(place) == {PAGE}
    assert "Deleted 0 sources" in place("sources", "prune", "--yes")


def test_sources_are_listed_while_another_process_has_the_index(tmp_path: Path) -> None:
    read_twice(tmp_path)
    with open_place("here", tmp_path) as place, open_stores(tmp_path):
        assert uris(place) == {PAGE, GONE}
        assert place.json("sources", "show", PAGE)["extractions"] == 3
        assert place.json("sources", "prune", "--yes")["pruned"] == 1


def test_a_uri_that_is_spelled_like_an_id_and_one_that_could_drive_a_terminal(tmp_path: Path) -> None:
    spelled, escape = source_id("of nothing"), "file:\x1b[31mred"
    with open_stores(tmp_path) as container:
        asyncio.run(replace(container, "r", [facts(spelled, "spelled like an id"), facts(escape, "red")]))
    with open_place("here", tmp_path) as place:
        assert place.json("sources", "show", spelled)["uri"] == spelled
        assert "\x1b" not in place("sources", "list") + place("sources", "show", escape)
        assert "\x1b" not in place("sources", "delete", escape, "--yes")


@pytest.mark.parametrize("arguments", [("list", "--source-group", " "), ("list", "--limit", "0"), ("show",)])
def test_wrong_arguments_are_told(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with open_place("here", tmp_path) as place:
        place("sources", *arguments, code=2)


def test_text_that_is_no_utf8_is_refused_in_words(tmp_path: Path) -> None:
    read_twice(tmp_path)
    with open_place("here", tmp_path) as place:
        assert "lone surrogate" in place("sources", "show", os.fsdecode(b"\xff"), code=1)
        assert "lone surrogate" in place("sources", "list", "--uri-prefix", os.fsdecode(b"\xff"), code=2)
