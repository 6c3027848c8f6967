"""Finding by words: alike on every dialect, and as a plain ranking of all documents would."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any
from uuid import uuid5

import orjson
import pytest
from sqlalchemy import Engine, delete, update
from sqlalchemy.orm import Session
from support.cli import EXAMPLE
from support.examples import examples
from support.rows import empty, make_project, new_extraction, writing

from app.database import ReadSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId, project_id_of
from app.intake.where_text import parse_where
from app.models import Extraction, Project
from app.services.creating import create_facts
from app.services.words import searching
from app.services.words.ranking import K1, MOST_RELATIVE_LENGTH, B, idf
from app.services.words.searching import FoundByWords, WordSearch
from app.words.languages import stemmed_as
from app.words.texts import text_to_index
from app.words.tokens import query_terms, terms_and_length

PAPERS = project_id_of("papers")
ALL = Filters(project_id=PAPERS)
FACTS: list[dict[str, Any]] = [orjson.loads(line) for line in EXAMPLE.read_bytes().splitlines()]
CODES = [f"XR-{4400 + n}-{'ABCD'[n % 4]}" for n in range(200)]
DATA: list[dict[str, Any]] = [each["data"] for each in FACTS] + [
    {"fact_text": f"the part {code} is in stock and costs {n} euro"} for n, code in enumerate(CODES)
]
TEXTS = [text_to_index("definition", data) for data in DATA]


def stored(
    session: Session, documents: Sequence[dict[str, Any]], *, first: int = 0, **changes: Any
) -> list[ExtractionId]:
    """Store an extraction with its words for each document, with the same ids on each dialect."""
    project = make_project(session, changes.pop("project", "papers"))
    template = new_extraction(session, project, extraction_type="definition", **changes)
    ids = [id_of(project, place) for place in range(first, first + len(documents))]
    create_facts(
        session, [template._replace(id=id_, data=data) for id_, data in zip(ids, documents, strict=True)]
    )
    return ids


def id_of(project: ProjectId, place: int) -> ExtractionId:
    return ExtractionId(uuid5(project, str(place)))


@pytest.fixture(scope="module")
def filled(engines: list[Engine]) -> Iterator[list[Engine]]:
    for engine in engines:
        with writing(engine) as session:
            stored(session, DATA)
    yield engines
    for engine in engines:
        empty(engine)


def find(
    engine: Engine, text: str, *, filters: Filters = ALL, limit: int = 50, search: WordSearch | None = None
) -> FoundByWords:
    with ReadSession(engine) as session:
        return (search or WordSearch()).find(session, text, filters, limit)


def drawn_queries(count: int) -> list[str]:
    """Single words, pairs, phrases, words that most have, and codes, drawn from the texts."""
    chosen = random.Random(7)  # noqa: S311 - drawn alike each time
    words = [re.findall(r"\w+", text) for text in TEXTS]
    common = [word for word, _ in Counter(word.lower() for each in words for word in each).most_common(12)]
    queries: list[str] = []
    while len(queries) < count:
        text = chosen.choice(words)
        start = chosen.randrange(len(text))
        queries += [
            chosen.choice(text),
            f"{chosen.choice(text)} {chosen.choice(chosen.choice(words))}",
            " ".join(text[start : start + 5]),
            " ".join(chosen.sample(common, 3)),
            f"is {chosen.choice(CODES)} in stock?",
        ]
    return queries[:count]


@pytest.mark.slow
def test_the_order_is_the_same_on_every_dialect(filled: list[Engine]) -> None:
    searches = [WordSearch() for _ in filled]
    for query in drawn_queries(examples(1_000)):
        on_each = [
            [
                (match.id, round(match.share, 12), match.certain)
                for match in find(engine, query, search=search).matches
            ]
            for engine, search in zip(filled, searches, strict=True)
        ]
        assert on_each[0], query
        assert on_each[0] == on_each[1], query


@cache
def passages() -> list[tuple[str, str, dict[str, int], int]]:
    """Id, language, terms and length of every text, in the order of their ids."""
    return sorted(
        (str(id_of(PAPERS, place)), stemmed_as(text), *terms_and_length(text, stemmed_as(text)))
        for place, text in enumerate(TEXTS)
    )


def reference(query: str) -> dict[str, float]:
    """The score of each text that has a word of the query, by Okapi BM25 over all, in plain Python.

    Mean length and languages are those of the first 2,000, which is what a search knows of a large
    project.
    """
    frequency = Counter(term for _, _, terms, _ in passages() for term in terms)
    sample = passages()[:2_000]
    mean = sum(length for _, _, _, length in sample) / len(sample)
    languages = [name for name, _ in Counter(sorted(name for _, name, _, _ in sample)).most_common()]
    asked = query_terms(query, stemmed_as(query), languages)
    worth = {each.term: each.weight * idf(len(TEXTS), frequency[each.term]) for each in asked}
    scores = dict[str, float]()
    for id_, _, terms, length in passages():
        score = 0.0
        for term, weight in worth.items():
            count = min(terms.get(term, 0), 35)
            relative = min(length / mean, MOST_RELATIVE_LENGTH)
            score += weight * count * (K1 + 1) / (count + K1 * (1 - B + B * relative))
        if score:
            scores[id_] = score
    return scores


RARE = [
    "glacier",
    "XR-4471-D",
    "violin orchestra",
    "copula predicate noun",
    "mortal soul",
    "orchestra zymurgy",
]


@pytest.mark.parametrize("query", RARE)
def test_rare_words_are_ranked_as_by_a_reference_over_all(filled: list[Engine], query: str) -> None:
    scores = reference(query)
    for engine in filled:
        matches = find(engine, query, limit=1_000).matches
        assert {match.id for match in matches} == set(scores)
        scale = matches[0].share / scores[matches[0].id]
        assert [match.share for match in matches] == pytest.approx(
            [scores[match.id] * scale for match in matches]
        )


def test_a_share_is_between_nothing_and_all(filled: list[Engine]) -> None:
    for query in drawn_queries(100):
        matches = find(filled[0], query).matches
        assert all(0 < match.share <= 1 for match in matches)
        assert list(matches) == sorted(matches, key=lambda match: (not match.certain, -match.share, match.id))


@pytest.mark.parametrize(
    "query", ["XR-4471-D", "is XR-4471-D in stock?", "xr-4471-d", "part xr-4471-d euro stock"]
)
def test_a_code_is_the_first_and_certain_alone(filled: list[Engine], query: str) -> None:
    wanted = stored_id(CODES.index("XR-4471-D"))
    for engine in filled:
        first, *others = find(engine, query).matches
        assert (first.id, first.certain) == (wanted, True)
        assert not any(match.certain for match in others)


def stored_id(code: int) -> str:
    return str(id_of(PAPERS, len(FACTS) + code))


def test_words_that_all_have_find_something_and_read_a_bounded_part(engine: Engine) -> None:
    with writing(engine) as session:
        ids = stored(
            session, [{"fact_text": f"the river is one of the many that are here {n}"} for n in range(4_500)]
        )
    search = WordSearch()
    with ReadSession(engine) as session:
        statistics = search._statistics_of(session, PAPERS, 1)
        query, candidates = searching._candidates(session, PAPERS, "the river is here", statistics)
        assert query.best > 0
        assert 0 < len(candidates) <= searching.MOST_CANDIDATES
        assert len(set(candidates)) == len(candidates)
    matches = find(engine, "the river is here", search=search).matches
    assert len(matches) == 50
    assert {match.id for match in matches} <= set(map(str, ids))
    [first, *_] = find(engine, "the river is here 4321", search=search).matches
    assert first.id == str(ids[4_321])


def test_statistics_follow_what_is_stored(engine: Engine) -> None:
    search = WordSearch()
    with writing(engine) as session:
        ids = stored(session, [{"fact_text": "bread"}, {"fact_text": "salt"}])
    assert [match.id for match in find(engine, "bread", search=search).matches] == [str(ids[0])]
    with writing(engine) as session:
        many = stored(session, [{"fact_text": f"butter {n}"} for n in range(20)], first=2)
        note_change(session)
    before = search._statistics[PAPERS].statistics.numbers
    assert {match.id for match in find(engine, "butter", search=search).matches} == set(map(str, many))
    after = search._statistics[PAPERS].statistics.numbers
    assert (before.extractions, after.extractions) == (2, 22)
    with writing(engine) as session:
        session.execute(delete(Extraction).where(Extraction.id.in_(many)))
        note_change(session)
    assert not find(engine, "butter", search=search).matches
    assert search._statistics[PAPERS].statistics.numbers.extractions == 2


def test_statistics_of_a_large_project_are_not_read_for_each_change(filled: list[Engine]) -> None:
    search, engine = WordSearch(), filled[0]
    find(engine, "bread", search=search)
    kept = search._statistics[PAPERS].statistics
    with writing(engine) as session:
        note_change(session)
    find(engine, "bread", search=search)
    assert search._statistics[PAPERS].statistics is kept


def note_change(session: Session) -> None:
    """What a change leaves in the project's row."""
    session.execute(update(Project).where(Project.id == PAPERS).values(last_change=Project.last_change + 1))


def test_statistics_of_the_projects_searched_last_are_kept(engine: Engine) -> None:
    search = WordSearch()
    with writing(engine) as session:
        for number in range(70):
            stored(session, [{"fact_text": "bread"}], project=f"p{number}")
    assert len(find(engine, "bread", filters=Filters(), limit=100, search=search).matches) == 70
    assert len(search._statistics) == 64
    assert len(find(engine, "bread", filters=Filters(), limit=100, search=search).matches) == 70


@pytest.mark.parametrize("uris", [1, 40])
@pytest.mark.parametrize("query", ["the river is here", "river 1234"])
def test_filters_that_few_and_that_many_pass(engine: Engine, query: str, uris: int) -> None:
    """Of 2,500, one in ``uris`` passes: what passes is found though the candidates are others."""
    count = 2_500
    with writing(engine) as session:
        for number in range(uris):
            places = range(number, count, uris)
            data = [{"fact_text": f"the river is one of those that are here {n}"} for n in places]
            stored(session, data, first=number * count, uri=f"file:{number}")
    search = WordSearch()
    filters = Filters(project_id=PAPERS, source_uris=("file:0",))
    found = find(engine, query, filters=filters, search=search, limit=30).matches
    wanted = {str(id_of(PAPERS, place)) for place in range(len(range(0, count, uris)))}
    assert len(found) == 30
    assert {match.id for match in found} <= wanted
    assert not find(engine, query, filters=Filters(PAPERS, source_uris=("file:none",)), search=search).matches


@pytest.mark.parametrize("query", ["the river is here", "river 1234", "1234"])
def test_where_many_pass_and_the_best_candidates_do_not_others_are_found(engine: Engine, query: str) -> None:
    """Of 6,500 that have the words 2,500 pass; those that fit best, by being shorter, don't."""
    with writing(engine) as session:
        stored(session, [{"fact_text": f"the river is here {n}"} for n in range(4_000)])
        long = [
            {"fact_text": f"the river is here and {n} others with many words more", "ok": True}
            for n in range(2_500)
        ]
        stored(session, long, first=10_000)
    filters = Filters(PAPERS, where=parse_where("ok = true"))
    found = find(engine, query, filters=filters, limit=30).matches
    wanted = {str(id_of(PAPERS, place)) for place in range(10_000, 12_500)}
    assert {match.id for match in found} <= wanted
    assert len(found) == (1 if query == "1234" else 30)


def test_a_word_of_a_document_that_passes_is_found_however_common_it_is(engine: Engine) -> None:
    with writing(engine) as session:
        stored(session, [{"fact_text": f"the river {n}"} for n in range(2_500)])
        [wanted] = stored(session, [{"fact_text": "the river that passes"}], first=3_000, uri="file:wanted")
    filters = Filters(PAPERS, source_uris=("file:wanted",))
    assert [match.id for match in find(engine, "river", filters=filters).matches] == [str(wanted)]


def test_without_a_project_all_are_searched_and_each_weighs_its_own_words(engine: Engine) -> None:
    with writing(engine) as session:
        here = stored(session, [{"fact_text": "bread"}, {"fact_text": "salt"}])
        there = stored(session, [{"fact_text": "bread and butter"}], project="other")
    found = find(engine, "bread", filters=Filters())
    assert {match.id for match in found.matches} == {str(here[0]), str(there[0])}
    assert set(found.queries) == {PAPERS, project_id_of("other")}


def test_a_project_that_is_not_there_has_nothing(engine: Engine) -> None:
    assert find(engine, "bread", filters=Filters(project_id=project_id_of("none"))).matches == []


@pytest.mark.parametrize(
    "query", ["?!", "\U0001f600", "'", '"', "a AND b OR NOT c*", "x" * 10_000, "word " * 2_000]
)
def test_any_query_is_answered(filled: list[Engine], query: str) -> None:
    for engine in filled:
        assert find(engine, query).complete


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("東京都に住んでいます", "東京"),
        ("Der Haustürschlüssel und die Dampfschifffahrt sind nicht das Gleiche", "Schlüssel"),
        ("write to anna5@acme.example today", "anna5@acme.example"),
        ("the error E-207 was raised", "e207"),
        ("She was running home", "runs"),
        ("The Who played in the hall", "the who"),
    ],
)
def test_words_are_found_in_other_forms(engine: Engine, text: str, query: str) -> None:
    with writing(engine) as session:
        [wanted, _] = stored(session, [{"fact_text": text}, {"fact_text": "nothing of all this"}])
    assert [match.id for match in find(engine, query).matches][:1] == [str(wanted)]
