"""Search quality with the default embedder: minimum scores, and cases that break easily."""

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import pytest
from sqlalchemy import Engine
from support.parts import fill, make_item, settings_for

from app.domain.search import Query, SearchMode
from app.words.languages import guess
from containers import Container, create_container, running

sys.path.append(str(Path(__file__).parents[2] / "bench"))  # benchmarks are scripts

import quality
from _judged import Collection, Question, by_source, codes, read_collections
from _setup import read_extractions

FILLER = "Owls hunt at night and swallow their prey whole, as the keepers of the reserve report. "


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    settings = settings_for(tmp_path, embedding={"provider": "wordllama"})
    with running(create_container(settings, engine=engine)) as container:
        yield container


async def asked(
    container: Container, collection: Collection, mode: SearchMode, every: int = 1
) -> quality.Score:
    """The means over the collection's questions."""
    scores = await quality.ask(container, collection, collection.sample(every), mode)
    return quality.Score(*map(fmean, zip(*scores, strict=True)))


async def test_questions_find_facts_without_prose(container: Container) -> None:
    (collection,) = [each for each in read_collections(quality.SHIPPED) if each.name == "facts without prose"]
    assert len(collection.questions) == 48
    await quality.fill(container, collection)
    assert (await asked(container, collection, SearchMode.AUTO)).hit_at_1 >= 0.95
    assert (await asked(container, collection, SearchMode.MEANING)).hit_at_1 >= 0.95
    assert (await asked(container, collection, SearchMode.WORDS)).hit_at_10 == 1


async def test_codes_that_differ_in_two_characters_are_told_apart(container: Container) -> None:
    collection = codes()
    assert len(collection.facts) == 200
    await quality.fill(container, collection)
    assert (await asked(container, collection, SearchMode.AUTO, every=7)).hit_at_1 == 1
    assert (await asked(container, collection, SearchMode.WORDS, every=20)).hit_at_1 == 1


async def test_a_code_outweighs_all_other_words_of_the_query(container: Container) -> None:
    texts = ["Part XR-4471-B.", "The brass pressure valve is in stock, and does fit the pumps of 2019."]
    await fill(container, [make_item(n, data={"fact_text": text}) for n, text in enumerate(texts)])
    query = "Is the brass pressure valve XR-4471-B in stock, and does it fit the pumps of 2019?"
    found = await container.search().search(Query(query, "papers"))
    assert [hit.extraction.data["fact_text"] for hit in found] == texts
    assert found[0].score < found[1].score


async def test_definitions_are_found_by_what_they_say_and_by_their_term(container: Container) -> None:
    facts = read_extractions(count=500)
    said = [Question(each["data"]["fact_text"].partition(": ")[2], {each["source_uri"]: 1}) for each in facts]
    of_term = dict[str, dict[str, int]]()
    for fact in facts:
        of_term.setdefault(fact["data"]["term"], {})[fact["source_uri"]] = 1
    terms = [Question(term, uris) for term, uris in of_term.items()]
    collection = Collection("WordNet", facts, said, by_source)
    await quality.fill(container, collection)
    assert (await asked(container, collection, SearchMode.AUTO, every=10)).hit_at_1 >= 0.94
    by_term = Collection("WordNet by term", facts, terms, by_source)
    assert (await asked(container, by_term, SearchMode.AUTO, every=10)).hit_at_10 >= 0.97


CASES = {
    "Die Versicherungsbedingungen wurden im Mai geändert und sind jetzt kürzer.": "de",
    "Die Zahlungen wurden nicht geleistet, und der Vertrag ist beendet.": "de",
    "Bestellungen in Hamburg": "en",  # German, but "in" is all there is to tell by
    "東京大学の図書館は夏の間、改修工事のため閉館します。": "ja",
    "京都の寺は秋に多くの観光客が訪れます。": "ja",
    FILLER * 230 + "The zymurgist left.": "en",
    FILLER * 230 + "The heron stayed.": "en",
}


@pytest.fixture
async def hard(container: Container) -> Container:
    assert [guess(text) for text in CASES] == list(CASES.values())
    items = [make_item(n, data={"fact_text": text}) for n, text in enumerate(CASES)]
    items += [make_item(n) for n in range(100, 140)]
    await fill(container, items)
    return container


HARD = [
    ("Versicherung", "und", 0),  # half of a compound, in a query that tells no language
    ("Bedingungen", "und", 0),
    ("Zahlung", "und", 1),  # another inflection than the text's
    ("Wie viele Bestellungen gab es?", "de", 2),  # of a text that was taken for English
    ("図書館", "zh", 3),  # a word inside a run of unspaced script
    ("観光客", "zh", 4),
    ("where did the heron stay", "en", 6),  # at the end of 20,000 characters
]


@pytest.mark.parametrize("mode", [SearchMode.AUTO, SearchMode.WORDS])
async def test_hard_cases_come_first(hard: Container, mode: SearchMode) -> None:
    assert [guess(query) for query, _, _ in HARD] == [guessed for _, guessed, _ in HARD]
    texts = list(CASES)
    found = {query: (await hard.search().search(Query(query, "papers", mode=mode)))[0] for query, _, _ in HARD}
    places = {query: texts.index(hit.extraction.data["fact_text"]) for query, hit in found.items()}
    assert places == {query: place for query, _, place in HARD}


async def test_a_single_word_at_the_end_of_a_long_text_is_found(hard: Container) -> None:
    """By both, one that is short and near in meaning may come before it: BM25 counts the length."""
    search, text = hard.search(), list(CASES)[5]
    by_words = await search.search(Query("zymurgist", "papers", mode=SearchMode.WORDS))
    assert [hit.extraction.data["fact_text"] for hit in by_words] == [text]
    by_both = await search.search(Query("zymurgist", "papers", limit=3))
    assert text in [hit.extraction.data["fact_text"] for hit in by_both]


def test_the_long_texts_are_long() -> None:
    assert all(len(text) > 19_000 for text in CASES if text.startswith(FILLER))
