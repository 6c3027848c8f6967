"""Facts counted by their fields and paths: as Python counts them, on every dialect."""

import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from support import conditions as drawn
from support.examples import examples
from support.parts import open_container
from support.rows import store_data, writing

from app.domain.field_paths import values_at
from app.domain.fields import Facet
from app.domain.filters import Filters
from app.domain.items import Item, parse_item
from app.errors import InvalidField, NotFound
from app.intake.where_text import parse_path, parse_where
from app.services.storage.repositories.facets import FacetRepository
from containers import Container

pytestmark = pytest.mark.contract


def item(number: int, **data: Any) -> Item:
    raw = {
        "source_uri": f"doc:{number % 3}",
        "source_group": ["shop", "press", None][number % 3],
        "extraction_type": "fact" if number < 7 else "note",
        "data": {"fact_text": f"number {number}", **data},
    }
    return parse_item(raw, ["fact_text"])


@pytest.fixture
async def filled(tmp_path: Path, engine: Engine) -> AsyncIterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        items = [
            item(n, price={"amount": n / 2}, tags=["a", "b"] if n % 2 else ["a", "a", {"x": 1}])
            for n in range(8)
        ]
        items += [item(8, price={"amount": "free"}), item(9, price=[{"amount": 1}, {"amount": None}])]
        await container.ingestion().accept("shop", items)
        yield container


async def counted(container: Container, by: str, where: str | None = None, limit: int = 10) -> Facet:
    filters = Filters(where=None if where is None else parse_where(where))
    [facet] = (await container.fields().count_by("shop", [by], filters, limit=limit)).facets
    return facet


def pairs(facet: Facet) -> list[tuple[Any, int]]:
    return [(each.value, each.count) for each in facet.values]


async def test_counts_by_the_fields_of_a_fact(filled: Container) -> None:
    assert pairs(await counted(filled, "type")) == [("fact", 7), ("note", 3)]
    group = await counted(filled, "group")
    assert (pairs(group), group.missing) == ([("press", 3), ("shop", 4)][::-1], 3)
    assert pairs(await counted(filled, "source", limit=1)) == [("doc:0", 4)]
    [(day, count)] = pairs(await counted(filled, "day"))
    assert (len(day), count) == (10, 10)
    assert pairs(await counted(filled, "run")) == []


async def test_counts_by_a_path(filled: Container) -> None:
    tags = await counted(filled, "tags")
    assert (pairs(tags), tags.objects, tags.missing) == ([("a", 8), ("b", 4)], 4, 2)
    amounts = await counted(filled, "price.amount", limit=1)
    assert pairs(amounts) == [(1, 2)]
    assert (amounts.rest_values, amounts.rest, amounts.missing) == (9, 9, 0)
    numbers = amounts.numbers
    assert numbers is not None
    assert (numbers.count, numbers.min, numbers.max) == (9, 0, 3.5)
    assert numbers.mean == pytest.approx(15 / 9)
    assert numbers.deciles == [0, 0.5, 1, 1, 1.5, 2, 2.5, 3, 3.5]
    assert (await counted(filled, "metadata.page")).missing == 10


async def test_counts_under_filters(filled: Container) -> None:
    found = await filled.fields().count_by(
        "shop", ["type", "tags"], Filters(where=parse_where("price.amount >= 2"))
    )
    assert found.count == 4
    assert [pairs(facet) for facet in found.facets] == [[("fact", 3), ("note", 1)], [("a", 4), ("b", 2)]]
    assert (await filled.fields().count_by("shop", ["type"], Filters(where=parse_where("prize = 1")))).warnings
    mistyped = await filled.fields().count_by("shop", ["type", "prise.amount"])
    assert mistyped.warnings == ("no fact has prise.amount; did you mean price.amount?",)
    assert pairs(await counted(filled, "group", 'group = "shop"')) == [("shop", 4)]


@pytest.mark.parametrize(
    ("by", "limit"),
    [
        ([], 10),
        (["type"] * 11, 10),
        (["type"], 0),
        (["type"], 1_001),
        (["confidence"], 1),
        (["created"], 1),
        (["data"], 1),
        (["a." * 16 + "a"], 1),
        (['"a\\"b"'], 1),
        (["a["], 1),
        ([""], 1),
    ],
)
async def test_what_facts_are_not_counted_by_is_refused(filled: Container, by: list[str], limit: int) -> None:
    with pytest.raises(InvalidField):
        await filled.fields().count_by("shop", by, limit=limit)


async def test_an_unknown_project_is_named(filled: Container) -> None:
    with pytest.raises(NotFound):
        await filled.fields().count_by("none", ["type"])


KEYS = st.sampled_from(["a", "b", "a.b", "", "é"])
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(
        drawn.scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=6,
    ),
    max_size=3,
)


@pytest.mark.slow
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(DOCUMENTS, min_size=1, max_size=6), st.lists(KEYS, min_size=1, max_size=3))
def test_a_path_is_counted_as_python_counts(
    engines: list[Engine], documents: list[dict[str, Any]], keys: list[str]
) -> None:
    path = parse_path(".".join(["data", *(orjson.dumps(key).decode() for key in keys)]))
    for engine in engines:
        with writing(engine) as session:
            store_data(session, documents)
            facet = FacetRepository(session).facet(Filters(), len(documents), "it", path, 1_000)
            session.execute(text("DELETE FROM extractions"))
        found = {_key(each.value): each.count for each in facet.values}
        assert found == _expected(documents, keys)
        assert [each.count for each in facet.values] == sorted(found.values(), reverse=True)
        assert facet.missing == sum(not values_at(document, keys) for document in documents) + sum(
            values_at(document, keys) == [[]] for document in documents
        )
        numbers = [key[1] for document in documents for key in _of(document, keys) if key[0] is float]
        assert (facet.numbers.count if facet.numbers else 0) == len(numbers)
        if facet.numbers:
            assert facet.numbers.deciles == [
                float(sorted(numbers)[math.ceil(len(numbers) * tenth / 10) - 1]) for tenth in range(1, 10)
            ]


def _expected(documents: Sequence[dict[str, Any]], keys: Sequence[str]) -> dict[Any, int]:
    return Counter(key for document in documents for key in _of(document, keys))


def _of(document: dict[str, Any], keys: Sequence[str]) -> set[Any]:
    values = [value for value in values_at(document, keys) if not isinstance(value, dict | list)]
    return {_key(value) for value in values}


def _key(value: Any) -> tuple[type, Any]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (float, value) if is_number else (type(value), value)
