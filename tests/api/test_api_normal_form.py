"""Long texts and texts in other forms than NFC, handed in and asked for over HTTP."""

import random
import unicodedata
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.api import Api, raw_item, serving

from app.domain.items import MAX_LABEL_CHARS, MAX_URI_CHARS
from app.models import Source

PATH = "/v1/projects/papers/extractions"
NFC, NFD = "caf\u00e9", "cafe\u0301"
FORMS = [(NFC, NFD), (NFD, NFC)]
UNICODE = {
    "cjk": lambda draw: chr(draw.randrange(0x4E00, 0x9FA5)),
    "beyond the BMP": lambda draw: chr(draw.randrange(0x20000, 0x2A6D6)),
}


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


def sources(engine: Engine) -> list[tuple[str, str | None]]:
    with Session(engine) as session:
        return [(uri, group) for uri, group in session.execute(select(Source.uri, Source.source_group))]


@pytest.mark.parametrize("script", UNICODE)
async def test_the_longest_labels_are_stored_whatever_they_take_in_bytes(
    api: Api, engine: Engine, script: str
) -> None:
    """Random, so that PostgreSQL can't compress them to what an index takes."""
    draw = random.Random(1)  # noqa: S311 - the same each time

    def longest(chars: int) -> str:
        return "".join(UNICODE[script](draw) for _ in range(chars))

    uri, group, kind = longest(MAX_URI_CHARS), longest(MAX_LABEL_CHARS), longest(MAX_LABEL_CHARS)
    long = raw_item(1, source_uri=uri, source_group=group, extraction_type=kind)
    answer = await api.accepted([long, raw_item(2)])
    assert answer["new"] == 2
    assert (uri, group) in sources(engine)
    [shown] = (await api.get(PATH, source_groups=group, extraction_types=kind))["items"]
    assert (shown["source"]["uri"], shown["source"]["group"]) == (uri, group)
    assert (await api.accepted([long]))["new"] == 0


@pytest.mark.parametrize(("first", "second"), FORMS)
async def test_a_source_is_one_in_every_form(api: Api, engine: Engine, first: str, second: str) -> None:
    items = [raw_item(n, source_uri=form, source_group=form) for n, form in enumerate((first, second, first))]
    assert (await api.accepted(items[:2]))["new"] == 2
    assert (await api.accepted(items[2:]))["new"] == 1
    assert sources(engine) == [(NFC, NFC)]


FILTERS: list[Callable[[str], dict[str, Any]]] = [
    lambda form: {"source_groups": form},
    lambda form: {"extraction_types": form},
    lambda form: {"where": f'"{form}"."{form}"="{form}"'},
    lambda form: {"where": [f'"{form}"."{form}"="{NFC}"', f'"{form}"."{form}"="{NFD}"']},
]


@pytest.mark.parametrize("filters", FILTERS)
@pytest.mark.parametrize(("stored", "asked"), FORMS)
async def test_a_filter_finds_every_form(
    api: Api, stored: str, asked: str, filters: Callable[[str], dict[str, Any]]
) -> None:
    data = {"fact_text": "x", stored: {stored: stored}}
    await api.accepted([raw_item(1, source_group=stored, extraction_type=stored, data=data), raw_item(2)])
    [found] = (await api.get(PATH, **filters(asked)))["items"]
    assert found["data"] == {"fact_text": "x", NFC: {NFC: NFC}}


@pytest.mark.slow
@pytest.mark.parametrize("where", [False, True])
@pytest.mark.parametrize(("stored", "asked"), FORMS)
async def test_a_search_finds_every_form(api: Api, stored: str, asked: str, where: bool) -> None:
    data = {"fact_text": f"{stored} au lait", stored: stored}
    await api.accepted([raw_item(1, source_group=stored, extraction_type=stored, data=data), raw_item(2)])
    await api.work()
    condition = {"path": f'"{asked}"', "op": "=", "value": asked}
    filters = {"where": condition} if where else {"source_groups": [asked], "extraction_types": [asked]}
    query = {"query": f"{asked} au lait", **filters}
    [hit] = (await api.post("/v1/projects/papers/search", query))["items"]
    assert hit["meaning"]["score"] == pytest.approx(1.0, abs=1e-4)
    assert hit["words"]["rank"] == 1


async def test_lengths_are_counted_in_normal_form(api: Api, engine: Engine) -> None:
    longest, decomposed = "\u1f82" * MAX_LABEL_CHARS, unicodedata.normalize("NFD", "\u1f82") * MAX_LABEL_CHARS
    assert len(decomposed) == 4 * MAX_LABEL_CHARS
    await api.accepted([raw_item(1, source_group=decomposed)])
    assert sources(engine) == [("doc:0", longest)]
    for form in (longest, decomposed):
        assert len((await api.get(PATH, source_groups=form))["items"]) == 1
    for too_long in (longest + "x", decomposed + "x"):
        answer = await api.hand_in([raw_item(1, source_group=too_long)])
        assert "has 201 characters" in answer.text or "has 801 characters" in answer.text
        assert (await api.client.get(PATH, params={"source_groups": too_long})).status_code == 422
