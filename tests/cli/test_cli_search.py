"""``agent-storage search``, on local stores and on those of a service."""

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import Cli
from support.following import PLACES, Place, facts, open_place, open_stores, replace

from containers import Container

pytestmark = pytest.mark.slow

CODE = "the part XR-4471-B is in stock"
BOLD = re.compile(r"\x1b\[1m([^\x1b]*)\x1b\[0m")


async def _store(container: Container) -> None:
    await replace(
        container,
        "monday",
        [
            facts("shop", CODE, "the bread costs 35 euro", *(f"the roll costs {n} cent" for n in range(20))),
            facts("catalogue", CODE),
        ],
    )


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    with open_stores(tmp_path) as container:
        asyncio.run(_store(container))
    return tmp_path


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, stored: Path) -> Iterator[Place]:
    with open_place(request.param, stored) as place:
        yield place


def ids(place: Place, *arguments: str) -> list[str]:
    return [hit["id"] for hit in place.hits(*arguments)]


def test_a_hit_says_why_it_was_found(place: Place) -> None:
    found = place.json("search", "is XR-4471-B in stock?", "--limit", "3")
    assert (found.keys(), found["degraded"]) == ({"items", "more", "degraded", "warnings"}, [])
    first = found["items"][0]
    why = {"score", "meaning", "words", "terms", "highlights", "twins"}
    assert set(first) == {*why, "extraction"}
    assert first["extraction"]["data"] == {"fact_text": CODE}
    assert first["words"]["rank"] == 1
    assert first["meaning"]["rank"] >= 1
    spans = first["highlights"]["fact_text"]
    assert [CODE[start:end] for start, end in spans] == ["XR-4471-B", "is", "in", "stock"]
    assert {"stock", "xr4471b"} <= set(first["terms"])


def test_equal_facts_are_one_result_unless_they_are_wanted_apart(place: Place) -> None:
    [hit] = [hit for hit in place.hits("XR-4471-B") if hit["data"]["fact_text"] == CODE]
    [twin] = hit["twins"]
    assert {hit["source_uri"], twin["source_uri"]} == {"shop", "catalogue"}
    apart = place.hits("XR-4471-B", "--no-collapse", "--mode", "words")
    assert {hit["source_uri"]: hit["twins"] for hit in apart} == {"shop": [], "catalogue": []}
    shown = place("search", "XR-4471-B", "--limit", "1")
    assert "shop" in shown
    assert "catalogue" in shown


def test_a_mode_asks_its_side_alone(place: Place) -> None:
    for mode, sides in (("auto", (True, True)), ("meaning", (True, False)), ("words", (False, True))):
        first, *_ = place.hits("bread", "--mode", mode)
        assert (first["meaning"] is not None, first["words"] is not None) == sides
    assert "both" in place("search", "bread", "--mode", "both", code=2)


def test_pages_follow_one_another(place: Place) -> None:
    whole = ids(place, "roll", "--limit", "22")
    assert len(set(whole)) == 22
    pages = [ids(place, "roll", "--limit", "8", "--offset", str(at)) for at in (0, 8, 16)]
    assert [id_ for page in pages for id_ in page] == whole
    assert "--offset 8" in place("search", "roll", "--limit", "8")
    assert "--offset" not in place("search", "roll", "--limit", "8", "--offset", "16")
    assert "offset of 500" in place("search", "roll", "--limit", "501", "--offset", "500", code=1)


def test_what_scores_less_is_left_out(place: Place) -> None:
    found = place.hits("roll 7", "--limit", "22")
    bound = found[4]["score"]
    wanted = [hit["id"] for hit in found if hit["score"] >= bound]
    assert ids(place, "roll 7", "--limit", "22", "--min-score", str(bound)) == wanted
    assert "Nothing found" in place("search", "roll", "--min-score", "1.5")


def test_here_and_there_find_the_same(stored: Path) -> None:
    found = []
    for kind in PLACES:
        with open_place(kind, stored) as place:
            found.append(
                [
                    place.hits("bread roll 7 XR-4471-B", "--mode", mode, *arguments)
                    for mode in ("auto", "meaning", "words")
                    for arguments in (
                        (),
                        ("--no-collapse", "-n", "30"),
                        ("--offset", "3"),
                        ("--min-score", "0.2"),
                    )
                ]
            )
    assert found[0] == found[1]


@pytest.mark.parametrize("columns", [60, 120])
def test_the_words_of_the_query_are_bold_on_a_terminal(stored: Path, columns: int) -> None:
    cli = Cli(stored, FORCE_COLOR="1", COLUMNS=str(columns), TERM="xterm-256color")
    shown = cli("search", "XR-4471-B stock", "--limit", "1").stdout.decode()
    assert {"XR-4471-B", "stock"} <= set(BOLD.findall(shown))
    assert "the part" in shown
    assert not {"the", "part", "is"} & set(BOLD.findall(shown))


def test_without_a_terminal_there_are_no_signs_of_it(stored: Path) -> None:
    assert b"\x1b" not in Cli(stored, COLUMNS="100")("search", "XR-4471-B").stdout


def test_what_lacks_is_said_beside_the_results(stored: Path) -> None:
    with open_stores(stored) as container:
        asyncio.run(container.qdrant_repository().drop_collection())
    cli = Cli(stored)
    done = cli("search", "XR-4471-B", "--json")
    assert "Incomplete: meaning: " in done.stderr.decode()
    answer = json.loads(done.stdout)
    assert "meaning" in answer["degraded"][0]
    [hit] = answer["items"]
    assert hit["extraction"]["data"] == {"fact_text": CODE}
    assert cli("search", "XR-4471-B", "--mode", "words").stderr == b""
