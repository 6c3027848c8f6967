"""Warning of text that the embedder wasn't made for."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.domain.ids import project_id_of
from app.domain.items import Item, parse_item
from app.domain.text import TextRules
from app.executor import BoundedExecutor, Lane
from app.services import language_watch as language_watch_module
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.language_watch import LanguageWatch
from app.services.metrics.instruments import NullInstruments
from app.words.languages import guess

ENGLISH = "The ferry carries cars across the river, and the old bridge was closed for repairs in May."
GERMAN = "Die Fähre bringt Autos über den Fluss, und die alte Brücke war im Mai wegen einer Reparatur gesperrt."
RUSSIAN = "Паром перевозит автомобили через реку. Старый мост был закрыт на ремонт в мае."
CODES = "XR-4471-B 20250 99 0x7f 1.5"


class EnglishEmbedder(DeterministicEmbedder):
    languages = frozenset({"en"})


class Counted(NullInstruments):
    def __init__(self) -> None:
        self.foreign = 0

    def foreign_texts(self, count: int) -> None:
        self.foreign += count


@pytest.fixture
def lane() -> Iterator[Lane]:
    executor = BoundedExecutor(2)
    yield executor.lane("files", limit=1, max_waiting=9, wait_timeout_s=30)
    assert executor.close(30)


@pytest.fixture
def instruments() -> Counted:
    return Counted()


@pytest.fixture
def watch(lane: Lane, instruments: Counted) -> LanguageWatch:
    return LanguageWatch(EnglishEmbedder(lane, 4), lane, TextRules(("text",)), instruments)


def items(*texts: str) -> list[Item]:
    return [
        parse_item({"source_uri": f"doc:{n}", "extraction_type": "fact", "data": {"text": text}}, ["text"])
        for n, text in enumerate(texts)
    ]


async def look(watch: LanguageWatch, texts: list[str], project: str = "shop") -> tuple[str, ...]:
    return await watch.look(project, project_id_of(project), items(*texts))


async def test_text_in_the_languages_of_the_embedder_is_no_cause_to_warn(
    watch: LanguageWatch, instruments: Counted
) -> None:
    assert await look(watch, [ENGLISH] * 50) == ()
    assert instruments.foreign == 0


async def test_text_in_others_is_warned_of(watch: LanguageWatch, instruments: Counted) -> None:
    [warning] = await look(watch, [GERMAN, RUSSIAN] * 4)
    assert warning.startswith("100% of the text of project 'shop' is in languages (de, ru) that the embedder")
    assert "deterministic wasn't made for" in warning
    assert "agent-storage embedders list" in warning
    assert instruments.foreign == 8


async def test_the_tally_runs_over_batches_and_is_each_projects_own(watch: LanguageWatch) -> None:
    assert await look(watch, [ENGLISH] * 8) == ()
    assert await look(watch, [GERMAN], "other") == (), "too little to tell"
    assert await look(watch, [GERMAN]) == (), "an eighth"
    [warning] = await look(watch, [GERMAN])
    assert warning.startswith("2"), "a fifth, over all batches"
    assert await look(watch, [ENGLISH] * 8) == (), "and less than that again"


async def test_what_tells_no_language_is_not_counted(watch: LanguageWatch) -> None:
    assert await look(watch, [CODES] * 100) == ()
    assert await look(watch, [GERMAN] * 6) != ()


async def test_a_few_items_of_a_batch_are_looked_at(
    watch: LanguageWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def noting(text: str) -> str:
        looked.append(text)
        return guess(text)

    monkeypatch.setattr(language_watch_module, "guess", noting)
    await look(watch, [f"{number} {ENGLISH * 20}" for number in range(1000)])
    assert [text.split(" ")[0] for text in looked] == [str(number) for number in range(0, 1000, 125)]
    assert max(map(len, looked)) <= 200


async def test_an_embedder_for_all_languages_is_not_watched(lane: Lane) -> None:
    watch = LanguageWatch(DeterministicEmbedder(lane, 4), lane, TextRules(("text",)))
    before = lane.stats().finished
    assert await look(watch, [GERMAN] * 50) == ()
    assert lane.stats().finished == before


async def test_the_project_that_was_quiet_longest_is_forgotten(
    watch: LanguageWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(language_watch_module, "_PROJECTS", 2)
    await look(watch, [GERMAN] * 4, "first")
    await look(watch, [GERMAN] * 4, "second")
    await look(watch, [GERMAN], "first")
    await look(watch, [GERMAN] * 4, "third")
    assert len(watch._tallies) == 2
    assert await look(watch, [GERMAN], "second") == (), "forgotten"


async def test_where_there_is_no_thread_for_it_handing_in_goes_on(instruments: Counted) -> None:
    """What was handed in is stored already: an error would have it handed in again."""
    executor = BoundedExecutor(2)
    lane = executor.lane("files", limit=1, max_waiting=0, wait_timeout_s=30)
    watch = LanguageWatch(EnglishEmbedder(lane, 4), lane, TextRules(("text",)), instruments)
    free = threading.Event()
    holding = asyncio.ensure_future(lane.run(free.wait))
    await asyncio.sleep(0)
    assert await look(watch, [GERMAN] * 8) == ()
    free.set()
    await holding
    assert executor.close(30)
    assert await look(watch, [GERMAN] * 8) == ()
    assert instruments.foreign == 0
