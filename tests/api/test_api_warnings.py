"""What the answer to handing in warns of: text that the embedder wasn't made for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.api import Api, raw_item, serving

GERMAN = "Die Fähre bringt Autos über den Fluss, und die alte Brücke war im Mai gesperrt."
ENGLISH = "The ferry carries cars across the river, and the old bridge was closed in May."


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with serving(tmp_path, sections={"embedding": {"provider": "wordllama"}}) as api:
        yield api


def items(text: str, count: int = 12) -> list[object]:
    return [raw_item(number, data={"fact_text": f"{text} {number}"}) for number in range(count)]


async def test_text_that_the_embedder_was_made_for_is_not_warned_of(api: Api) -> None:
    assert (await api.accepted(items(ENGLISH)))["warnings"] == []


async def test_text_in_another_language_is_warned_of_and_counted(api: Api) -> None:
    [warning] = (await api.accepted(items(GERMAN)))["warnings"]
    assert "is in languages (de) that the embedder wordllama/l2_supercat wasn't made for" in warning
    metrics = (await api.client.get("/metrics")).text
    assert "agent_storage_foreign_texts_total 6.0" in metrics


async def test_lines_in_several_batches_are_warned_of_once(api: Api) -> None:
    answer = await api.accepted(items(GERMAN, 120), lines=True)
    assert len(answer["warnings"]) == 1


@pytest.mark.parametrize("lines", [False, True])
async def test_a_replace_warns_of_it_too(api: Api, lines: bool) -> None:
    assert (await api.replaced(items(ENGLISH), lines=lines))["warnings"] == []
    answer = await api.replaced(items(GERMAN, 40), lines=lines)
    assert "languages (de)" in answer["warnings"][0]
