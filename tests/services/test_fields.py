"""What is said of the fields of a project's facts, and of paths that no fact has."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support.parts import open_container

from app.domain.filters import Filters
from app.domain.items import Item, parse_item
from app.domain.search import Query, SearchMode
from app.errors import NotFound
from app.intake.where_text import parse_where
from app.services import fields
from containers import Container

pytestmark = pytest.mark.contract


def item(type_: str, data: dict[str, Any], **members: Any) -> Item:
    return parse_item({"source_uri": "a", "extraction_type": type_, "data": data, **members}, ["fact_text"])


@pytest.fixture
async def filled(tmp_path: Path, engine: Engine) -> AsyncIterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        items = [
            item(
                "lamp",
                {"fact_text": f"lamp {n}", "price": {"amount": n, "old": [n, None]}, "tags": ["indoor", "red"]},
            )
            for n in range(8)
        ]
        note = item("note", {"fact_text": "note", "at": "2025-01-31", "ok": True}, metadata={"page": 3})
        await container.ingestion().accept("shop", [*items, note])
        yield container


async def test_types_are_described_with_their_fields(filled: Container) -> None:
    described = await filled.fields().describe("shop")
    assert (described.sampled, described.whole) == (9, True)
    lamps, notes = described.types
    assert (lamps.facts, notes.type, notes.facts) == (8, "note", 1)
    by_path = {field.path: field for field in lamps.fields}
    assert set(by_path) == {"fact_text", "price.amount", "price.old", "tags"}
    assert by_path["price.old"].kinds == {"number": 8, "null": 8}
    assert by_path["tags"].facts == 8
    assert sorted(by_path["tags"].examples) == ["indoor", "red"]
    assert {field.path: dict(field.kinds) for field in notes.fields} == {
        "fact_text": {"text": 1},
        "at": {"time": 1},
        "ok": {"true or false": 1},
        "metadata.page": {"number": 1},
    }


async def test_a_sample_says_that_it_is_one(filled: Container) -> None:
    described = await filled.fields().describe("shop", sampled=4)
    assert (described.sampled, described.whole) == (4, False)
    with pytest.raises(NotFound):
        await filled.fields().describe("none")


@pytest.mark.parametrize(
    ("where", "warnings"),
    [
        ("price.amount > 2", ()),
        ("metadata.page = 3 and tags contains red or type = none", ()),
        ("price.amont > 2", ("no fact has price.amont; did you mean price.amount?",)),
        ("not (metadata.pages exists)", ("no fact has metadata.pages; did you mean metadata.page?",)),
        ("typ = lamp", ("no fact has typ; did you mean type?",)),
        ('"zz zz" exists or price.amount = 1', ('no fact has "zz zz"',)),
    ],
)
async def test_a_path_that_no_fact_has_is_told(
    filled: Container, where: str, warnings: tuple[str, ...]
) -> None:
    condition = Filters(where=parse_where(where))
    assert await filled.fields().warnings("shop", condition) == warnings
    for project in ("shop", None):
        found = await filled.search().search(Query("lamp", project, mode=SearchMode.WORDS, filters=condition))
        assert found.warnings == warnings


async def test_nothing_is_odd_in_an_empty_project(filled: Container) -> None:
    await filled.projects().create("empty")
    assert await filled.fields().warnings("empty", Filters(where=parse_where("a = 1"))) == ()
    assert await filled.fields().warnings("shop", Filters()) == ()


async def test_of_many_facts_some_are_looked_at(filled: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_LOOKED_AT", 5)
    monkeypatch.setattr(fields, "_SAMPLED", 2)
    [told] = await filled.fields().warnings("shop", Filters(where=parse_where("nothing exists")))
    assert told == "none of 5 facts looked at has nothing"


async def test_five_warnings_are_enough(filled: Container) -> None:
    where = parse_where(" or ".join(f"none{n} exists" for n in range(9)))
    assert len(await filled.fields().warnings("shop", Filters(where=where))) == 5
