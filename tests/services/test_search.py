"""Searching: by meaning, with every filter, as filtering in Python would."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dependency_injector import providers
from numpy.typing import NDArray
from sqlalchemy import Engine, delete
from sqlalchemy.orm import Session
from support.parts import fill, make_item, open_container, settings_for
from support.wheres import where

from app.domain.filters import Filters
from app.domain.ids import project_id_of
from app.domain.search import Query, SearchMode
from app.errors import InvalidInput, NotFound
from app.executor import Lane
from app.models import Extraction
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.embedder import TextRole
from app.services.meaning_search import MeaningSearch
from app.services.search import SearchService
from containers import Container, create_container, running

COUNT = 120


@pytest.fixture
def container(tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, engine=engine) as container:
        yield container


@pytest.fixture
async def filled(container: Container) -> Container:
    await fill(container, [make_item(n) for n in range(COUNT)])
    await fill(container, [make_item(n) for n in range(5)], project="other")
    return container


async def numbers(container: Container, **query: Any) -> list[int]:
    found = await container.search().search(
        Query(**{"text": "river", "project": "papers", "limit": 1000, "mode": SearchMode.MEANING, **query})
    )
    return [result.extraction.data["n"] for result in found]


async def test_the_nearest_come_first_with_what_sql_has_of_them(filled: Container) -> None:
    found = await filled.search().search(
        Query("violin glacier 53", project="papers", limit=3, mode=SearchMode.MEANING)
    )
    best = found[0].extraction
    assert best.data == make_item(53).data
    assert (best.source_uri, best.source_group, best.extraction_type) == ("doc:26", "group-2", "claim")
    assert best.confidence == 53 % 11 / 10
    assert found[0].score == pytest.approx(1.0, abs=1e-4)
    assert [result.score for result in found] == sorted((result.score for result in found), reverse=True)


class NotingEmbedder(DeterministicEmbedder):
    """Notes in which role each text came."""

    def __init__(self, lane: Lane) -> None:
        super().__init__(lane, 32)
        self.asked: list[tuple[TextRole, str]] = []

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        self.asked += [(role, text) for text in texts]
        return await super().embed(texts, role)


async def test_what_is_stored_is_a_passage_and_what_is_asked_a_query(tmp_path: Path, engine: Engine) -> None:
    container = create_container(settings_for(tmp_path), engine=engine)
    container.override_providers(
        embedder=providers.ThreadSafeSingleton(NotingEmbedder, container.embedding_lane)
    )
    with running(container):
        await fill(container, [make_item(0), make_item(1)])
        await container.search().search(Query("violin", project="papers", mode=SearchMode.MEANING))
        asked = container.embedder().asked
    assert sorted(asked[:2]) == [(TextRole.PASSAGE, "mountain river 1"), (TextRole.PASSAGE, "river river 0")]
    assert asked[2:] == [(TextRole.QUERY, "violin")]


async def test_what_qdrant_says_of_a_row_shows_no_other_project(filled: Container) -> None:
    [wanted, *_] = await filled.search().search(
        Query("violin glacier 3", project="other", limit=1, mode=SearchMode.MEANING)
    )
    [vector] = await filled.embedder().embed(["violin glacier 3"])
    payload = {"project_id": str(project_id_of("papers"))}
    await filled.qdrant_repository().upsert(str(wanted.extraction.id), vector, payload)
    found = await filled.search().search(
        Query("violin glacier 3", project="papers", limit=200, mode=SearchMode.MEANING)
    )
    assert len(found) == COUNT
    assert wanted.extraction.id not in {result.extraction.id for result in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filters", "holds"),
    [
        ({}, lambda _: True),
        ({"source_groups": ("group-1",)}, lambda n: n // 2 % 3 == 1),
        ({"source_groups": ("group-1", "group-2")}, lambda n: n // 2 % 3 != 0),
        ({"extraction_types": ("claim",)}, lambda n: n % 2 == 1),
        ({"min_confidence": 0.5}, lambda n: n % 11 >= 5),
        ({"max_confidence": 0.5}, lambda n: n % 11 <= 5),
        ({"min_confidence": 0.3, "max_confidence": 0.3}, lambda n: n % 11 == 3),
        ({"where": where({"n": 17})}, lambda n: n == 17),
        ({"where": where({"n": 17.0})}, lambda n: n == 17),
        ({"where": where({"n": "17"})}, lambda _: False),
        ({"where": where({"odd": True})}, lambda n: n % 2 == 1),
        ({"where": where({"odd": 1})}, lambda _: False),
        ({"where": where({"none": None})}, lambda _: True),
        ({"where": where({"missing": None})}, lambda _: False),
        ({"where": where({"meta.lang": "de"})}, lambda n: n % 2 == 0),
        (
            {
                "where": where({"meta.lang": "de", "none": None}),
                "source_groups": ("group-0",),
                "max_confidence": 0.5,
            },
            lambda n: n % 2 == 0 and n // 2 % 3 == 0 and n % 11 <= 5,
        ),
    ],
)
async def test_a_filter_finds_what_filtering_in_python_does(
    filled: Container, filters: dict[str, Any], holds: Callable[[int], bool]
) -> None:
    assert sorted(await numbers(filled, filters=Filters(**filters))) == [n for n in range(COUNT) if holds(n)]


async def test_a_broad_data_filter_is_answered_exactly_too(filled: Container) -> None:
    """With pages this small, every way of answering is taken."""
    meaning = MeaningSearch(
        filled.database(),
        filled.qdrant_repository(),
        filled.embedder(),
        text_rules=filled.text_rules(),
        ids_a_page=7,
        glance=5,
    )
    service = SearchService(filled.database(), meaning, filled.word_search())
    everything = await numbers(filled)
    for limit in (1, 3, 60):
        found = await service.search(
            Query(
                "river",
                project="papers",
                limit=limit,
                filters=Filters(where=where({"odd": True})),
                mode=SearchMode.MEANING,
            )
        )
        assert [result.extraction.data["n"] for result in found] == [n for n in everything if n % 2][:limit]


async def test_the_runs_and_the_state_of_a_row_narrow_a_search(filled: Container) -> None:
    run = await filled.runs().begin("papers", "again")
    await filled.ingestion().accept("papers", [make_item(n) for n in range(3)], run_id=run.id)
    assert sorted(await numbers(filled, filters=Filters(run_ids=(run.id,)))) == [0, 1, 2]
    assert sorted(await numbers(filled, filters=Filters(indexed=True))) == list(range(COUNT))
    everything = Filters(run_ids=(run.id,), indexed=True, set_aside=False, min_confidence=0.2)
    assert await numbers(filled, filters=everything) == [2]


async def test_without_a_project_all_are_searched(filled: Container) -> None:
    found = await filled.search().search(Query("river", limit=1000, mode=SearchMode.MEANING))
    assert len(found) == COUNT + 5
    assert len({result.extraction.project_id for result in found}) == 2


async def test_a_vector_without_a_row_is_never_shown_and_takes_no_place(
    filled: Container, engine: Engine
) -> None:
    before = await numbers(filled, limit=20)
    with Session(engine) as session, session.begin():
        gone = [
            result.extraction.id
            for result in await filled.search().search(
                Query("river", "papers", limit=15, mode=SearchMode.MEANING)
            )
        ]
        session.execute(delete(Extraction).where(Extraction.id.in_(gone)))
    after = await numbers(filled, limit=20)
    assert len(after) == 20
    assert after[:5] == before[15:]


async def test_an_unknown_project_is_named(container: Container) -> None:
    await container.indexing().prepare()
    with pytest.raises(NotFound, match="no project 'nowhere'"):
        await numbers(container, project="nowhere")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"text": "  "}, "query is empty"),
        ({"text": "x" * 10_001}, "10,001 characters"),
        ({"limit": 0}, "limit of 0"),
        ({"limit": 1_001}, "limit of 1001"),
        ({"project": "no good"}, "isn't a project name"),
        ({"filters": Filters(indexed=False)}, "search them by words"),
        ({"filters": Filters(set_aside=True)}, "search them by words"),
    ],
)
async def test_a_bad_query_is_refused(container: Container, query: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        await numbers(container, **query)
