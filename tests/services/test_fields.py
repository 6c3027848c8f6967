"""What is said of the fields of a project's facts, and of paths that no fact has."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from support.parts import item_of, open_container

from app.errors import NotFound
from containers import Container

pytestmark = pytest.mark.contract


@pytest.fixture
async def filled(tmp_path: Path, engine: Engine) -> AsyncIterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        items = [
            item_of(
                "lamp",
                {"fact_text": f"lamp {n}", "price": {"amount": n, "old": [n, None]}, "tags": ["indoor", "red"]},
            )
            for n in range(8)
        ]
        note = item_of("note", {"fact_text": "note", "at": "2025-01-31", "ok": True}, metadata={"page": 3})
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
