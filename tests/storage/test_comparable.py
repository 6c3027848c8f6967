"""Pages of rows as they are compared with points."""

import pytest
from sqlalchemy import Engine
from support.plans import plan
from support.rows import store_extractions, writing

from app.database import WriteSession
from app.domain.ids import ProjectId, project_id_of
from app.services.storage.repositories.comparable import ComparableRow, comparable_rows
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.indexable import LabelsRow, labels_of


def pages(engine: Engine, size: int, project_id: ProjectId | None = None) -> list[ComparableRow]:
    rows, after = list[ComparableRow](), None
    with WriteSession(engine) as session:
        while page := comparable_rows(session, after, size, project_id):
            assert len(page) <= size
            rows, after = rows + page, page[-1].id
    return rows


@pytest.mark.parametrize("size", [1, 3, 100])
def test_pages_have_every_row_once_by_id(engine: Engine, size: int) -> None:
    with writing(engine) as session:
        of_a = store_extractions(session, 3, "a", confidence=1 / 3)
        ids = sorted(of_a + store_extractions(session, 4, "b", confidence=None))
    assert [row.id for row in pages(engine, size)] == [str(id_) for id_ in ids]
    assert [row.id for row in pages(engine, size, project_id_of("a"))] == [str(id_) for id_ in of_a]


def test_a_row_has_the_labels_of_its_point_and_what_became_of_it(engine: Engine) -> None:
    with writing(engine) as session:
        ids = store_extractions(session, 3, confidence=1 / 3)
        extractions = ExtractionRepository(session)
        extractions.update_embedding_ids_batch(ids[:1])
        extractions.set_aside({ids[1]: "no text"})
        labels = {row.id: row for row in labels_of(session, ids)}
    rows = pages(engine, 10)
    assert [LabelsRow(*row[:5]) for row in rows] == [labels[str(id_)] for id_ in ids]
    assert [(row.marked, row.set_aside, row.words) for row in rows] == [
        (True, False, None),
        (False, True, None),
        (False, False, None),
    ]


@pytest.mark.parametrize(
    ("project", "indexes"),
    [
        (None, ("sqlite_autoindex_extractions_1", "pk_extractions")),
        ("papers", ("ix_extractions_project_id_id",)),
    ],
)
def test_a_page_is_read_by_its_index(engine: Engine, project: str | None, indexes: tuple[str, ...]) -> None:
    with writing(engine) as session:
        ids = store_extractions(session, 1_000)
        store_extractions(session, 1_000, "others")
    project_id = None if project is None else project_id_of(project)
    found = plan(engine, lambda session: comparable_rows(session, str(ids[500]), 10, project_id))
    assert any(index in found for index in indexes), found
    assert "TEMP B-TREE" not in found
    assert "Seq Scan on extractions" not in found
