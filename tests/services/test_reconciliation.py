"""Finding and repairing every difference between the stores."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session
from support.parts import fill, index_all, make_item, open_container

from app.domain.search import Query, SearchMode
from app.domain.upkeep import Differences
from app.models import Extraction, ExtractionWords
from containers import Container

COUNT = 120


@pytest.fixture(params=["memory", "embedded"])
def container(request: pytest.FixtureRequest, tmp_path: Path, engine: Engine) -> Iterator[Container]:
    with open_container(tmp_path, mode=request.param, engine=engine) as container:
        yield container


async def verify(container: Container, *, repair: bool = False) -> Differences:
    states = [Differences()] + [state async for state in container.reconciliation().run(repair=repair)]
    return states[-1]


async def test_equal_stores_have_no_difference(container: Container) -> None:
    await fill(container, [make_item(n) for n in range(COUNT)])
    found = await verify(container)
    assert found == Differences(extractions=COUNT, points=COUNT)
    assert found.remaining == 0


async def test_empty_stores_have_no_difference(container: Container) -> None:
    await container.indexing().prepare()
    assert await verify(container, repair=True) == Differences(left=0)


async def test_every_kind_of_difference_is_found_and_repaired(container: Container, engine: Engine) -> None:
    await fill(container, [make_item(n) for n in range(COUNT)])
    await container.ingestion().accept("papers", [make_item(n) for n in range(COUNT, COUNT + 3)])  # 3 orphans
    ids = [str(result.extraction.id) for result in await container.search().search(Query("river", limit=9))]
    await container.qdrant_repository().delete_batch(ids[:4])  # 4 missing
    with Session(engine) as session, session.begin():  # 5 ghosts
        session.execute(delete(Extraction).where(Extraction.id.in_(ids[4:])))
    found = await verify(container)
    assert (found.orphans, found.missing, found.ghosts, found.remaining) == (3, 4, 5, 12)
    assert await verify(container) == found, "looking changes nothing"

    repaired = await verify(container, repair=True)
    assert (repaired.repaired_orphans, repaired.repaired_missing, repaired.repaired_ghosts) == (3, 4, 5)
    assert repaired.remaining == 0
    assert await verify(container) == Differences(extractions=COUNT - 2, points=COUNT - 2)


async def test_a_ghost_alone_is_found(container: Container) -> None:
    await container.indexing().prepare()
    await container.qdrant_repository().upsert(str(uuid4()), [1.0] * 32, {})
    assert (await verify(container)).ghosts == 1
    assert (await verify(container, repair=True)).remaining == 0
    assert await container.qdrant_repository().count() == 0


async def test_a_vector_whose_mark_was_lost_is_marked_again(container: Container, engine: Engine) -> None:
    """What a crash between Qdrant's answer and the mark leaves."""
    await fill(container, [make_item(n) for n in range(10)])
    with Session(engine) as session, session.begin():
        session.execute(update(Extraction).values(embedding_id=None))
    assert (await verify(container)).orphans == 10
    assert (await verify(container, repair=True)).remaining == 0
    with Session(engine) as session:
        assert all(row.embedding_id == str(row.id) for row in session.query(Extraction))


async def test_what_was_set_aside_is_told_and_is_no_difference(container: Container, engine: Engine) -> None:
    await fill(container, [make_item(n) for n in range(5)])
    await container.ingestion().accept("papers", [make_item(5)])
    with Session(engine) as session, session.begin():
        session.execute(
            update(Extraction).where(Extraction.embedding_id.is_(None)).values(set_aside_reason="unreadable")
        )
    found = await verify(container, repair=True)
    assert (found.set_aside, found.orphans, found.remaining) == (1, 0, 0)


async def test_the_comparison_streams_page_by_page(container: Container) -> None:
    await fill(container, [make_item(n) for n in range(COUNT)])
    steps = [step async for step in container.reconciliation().run()]
    assert len(steps) >= COUNT // 50
    for a, b in pairwise([Differences(), *steps]):
        assert max(b.extractions - a.extractions, b.points - a.points) <= 50


async def test_a_repair_beside_other_work_judges_by_what_is_left(container: Container) -> None:
    """Another worker indexes the orphans after they were found, and more arrive."""
    await fill(container, [make_item(n) for n in range(COUNT)])
    await container.ingestion().accept("papers", [make_item(n) for n in range(COUNT, COUNT + 3)])
    states, by_others = [], 0
    async for state in container.reconciliation().run(repair=True):
        states.append(state)
        if state.extractions == COUNT + 3:
            by_others += await index_all(container)
    assert by_others == 3
    assert (states[-1].orphans, states[-1].repaired_orphans, states[-1].remaining) == (3, 0, 0)


async def test_words_that_are_missing_or_stale_are_found_and_made_again(
    container: Container, engine: Engine
) -> None:
    await fill(container, [make_item(n) for n in range(COUNT)])
    with Session(engine) as session, session.begin():
        ids = list(session.scalars(select(ExtractionWords.extraction_id).order_by(ExtractionWords.number)))
        session.execute(delete(ExtractionWords).where(ExtractionWords.extraction_id.in_(ids[:7])))
        of_others = ExtractionWords.extraction_id.in_(ids[7:9])
        session.execute(update(ExtractionWords).where(of_others).values(made_by=1))
    found = await verify(container)
    assert (found.words_missing, found.words_stale, found.remaining) == (7, 2, 9)
    assert await verify(container) == found, "looking changes nothing"

    repaired = await verify(container, repair=True)
    assert (repaired.repaired_words_missing, repaired.repaired_words_stale, repaired.remaining) == (7, 2, 0)
    assert await verify(container) == Differences(extractions=COUNT, points=COUNT)
    hits = await container.search().search(Query("river", "papers", 1_000, mode=SearchMode.WORDS))
    assert {hit.extraction.data["n"] for hit in hits} == {
        n for n in range(COUNT) if "river" in make_item(n).data["fact_text"]
    }


async def test_words_of_one_project_alone_are_made_again(container: Container, engine: Engine) -> None:
    for project in ("papers", "other"):
        await fill(container, [make_item(n) for n in range(5)], project=project)
    with Session(engine) as session, session.begin():
        session.execute(delete(ExtractionWords))
    states = [each async for each in container.reconciliation().run(repair=True, project="papers")]
    assert (states[-1].words_missing, states[-1].repaired_words_missing) == (5, 5)
    assert (await verify(container)).words_missing == 5
