"""Warnings about filters and orders: what no fact has, and values that can't match."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support.parts import item_of, open_container

from app.domain.filters import Filters
from app.domain.items import parse_item
from app.domain.search import Query, SearchMode
from app.intake.where_text import parse_order, parse_where
from app.services import filter_warnings
from containers import Container

pytestmark = pytest.mark.contract


@pytest.fixture
async def filled(tmp_path: Path, engine: Engine) -> AsyncIterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        items = [
            item_of(
                "lamp",
                {
                    "fact_text": f"lamp {n}",
                    "price": {"amount": n, "old": [n, None], "written": f"{n}.00"},
                    "tags": ["indoor", "red"],
                },
                source_group="shops",
            )
            for n in range(8)
        ]
        note = item_of(
            "note",
            {"fact_text": "note", "at": "2025-01-31", "mixed": [1, "1"]},
            metadata={"page": 3},
            source_group="shops",
        )
        await container.ingestion().accept("shop", [*items, note])
        yield container


@pytest.mark.parametrize(
    ("where", "warnings"),
    [
        ("price.amount > 2", ()),
        ("metadata.page = 3 and tags contains red or type = note", ()),
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
    monkeypatch.setattr(filter_warnings, "_LOOKED_AT", 5)
    monkeypatch.setattr(filter_warnings, "SAMPLED", 2)
    [told] = await filled.fields().warnings("shop", Filters(where=parse_where("nothing exists")))
    assert told == "none of 5 facts looked at has nothing"


async def test_five_warnings_are_enough(filled: Container) -> None:
    where = parse_where(" or ".join(f"none{n} exists" for n in range(9)))
    assert len(await filled.fields().warnings("shop", Filters(where=where))) == 5


async def told(container: Container, **filters: Any) -> tuple[str, ...]:
    """The warnings, which are the same for a list and for a search."""
    where = filters.pop("where", None)
    chosen = Filters(**filters, where=None if where is None else parse_where(where))
    found = await container.fields().warnings("shop", chosen)
    for project in ("shop", None):
        query = Query("lamp", project, mode=SearchMode.WORDS, filters=chosen)
        assert (await container.search().search(query)).warnings == found
    return found


@pytest.mark.parametrize(
    ("filters", "warnings"),
    [
        ({"extraction_types": ["lamp", "note"], "source_groups": ["shops"], "source_uris": ["a"]}, ()),
        ({"extraction_types": ["lmap"]}, ('no fact has the type "lmap"; did you mean lamp?',)),
        ({"source_groups": ["shop"]}, ('no fact has the group "shop"; did you mean shops?',)),
        ({"source_uris": ["https://b"]}, ('no fact has the source "https://b"',)),
        ({"where": "type in (lamp, lmap)"}, ('no fact has the type "lmap"; did you mean lamp?',)),
        ({"where": "not (group = shop)"}, ('no fact has the group "shop"; did you mean shops?',)),
        ({"where": "type starts la and source contains b"}, ()),
    ],
)
async def test_a_type_a_group_and_a_source_that_no_fact_has_are_told(
    filled: Container, filters: dict[str, Any], warnings: tuple[str, ...]
) -> None:
    assert await told(filled, **filters) == warnings


async def test_a_type_beyond_the_sample_is_known(filled: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filter_warnings, "SAMPLED", 1)
    for type_ in ("lamp", "note"):
        assert await filled.fields().warnings("shop", Filters(extraction_types=(type_,))) == ()
    monkeypatch.setattr(filter_warnings, "_LOOKED_AT", 5)
    [warning] = await filled.fields().warnings("shop", Filters(extraction_types=("x",)))
    assert warning.startswith('none of 5 facts looked at has the type "x"')


async def test_every_source_and_group_of_a_project_is_known(
    filled: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_warnings, "SAMPLED", 1)
    monkeypatch.setattr(filter_warnings, "_LOOKED_AT", 1)
    others = [
        {"source_uri": f"b{n}", "source_group": f"g{n}", "extraction_type": "x", "data": {"fact_text": str(n)}}
        for n in range(5)
    ]
    await filled.ingestion().accept("shop", [parse_item(each, ["fact_text"]) for each in others])
    uris, groups = tuple(f"b{n}" for n in range(5)), tuple(f"g{n}" for n in range(5))
    assert await filled.fields().warnings("shop", Filters(source_uris=uris, source_groups=groups)) == ()
    assert await filled.fields().warnings("shop", Filters(source_uris=("zzzz",), source_groups=("yyyy",))) == (
        'no fact has the group "yyyy"',
        'no fact has the source "zzzz"',
    )


async def test_an_order_by_a_path_that_no_fact_has_is_told(filled: Container) -> None:
    async def of(order: str) -> tuple[str, ...]:
        return await filled.fields().warnings("shop", Filters(), order=parse_order(order))

    assert await of("-price.amont") == ("no fact has price.amont; did you mean price.amount?",)
    assert (await of("price.amount"), await of("-created"), await of("confidence")) == ((), (), ())


@pytest.mark.parametrize(
    "where",
    ["price.written > 1", "price.written = 1", "price.written in (1, 2)", "not (price.written < 1)", "at > 3"],
)
async def test_a_number_compared_with_texts_is_told(filled: Container, where: str) -> None:
    [warning] = await told(filled, where=where)
    path = "at" if where.startswith("at") else "price.written"
    assert warning.startswith(
        f"{path} is compared with a number, and is a text in all facts looked at, such as"
    )
    assert "--number" in warning


async def test_a_text_compared_with_numbers_is_told(filled: Container) -> None:
    for where in ("price.amount = '1'", "price.amount starts '1'", "price.amount > 2025-01-31"):
        [warning] = await told(filled, where=where)
        assert warning.startswith("price.amount is compared with a text, and is a number in all facts")


@pytest.mark.parametrize(
    "where",
    [
        "price.amount > 1",
        "price.amount > 100",
        "price.old = 5",
        "price.written > '1'",
        "at > 2025-01-01",
        "mixed = 1 or mixed = '1'",
        "price.written in (1, '1.00')",
        "price.amount = null or price.amount = true",
        "price.written exists",
    ],
)
async def test_values_of_a_kind_that_facts_have_are_not_told(filled: Container, where: str) -> None:
    assert await told(filled, where=where) == ()
