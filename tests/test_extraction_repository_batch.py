"""Many extractions in one statement: stored, read and marked."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from support.backends import CONNECTIONS
from support.rows import make_project, new_extraction, statements, store_extractions, writing

from app.domain.ids import ExtractionId
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction

pytestmark = pytest.mark.contract


def embedding_ids(engine: Engine) -> dict[str, str | None]:
    """Every row's, read past the repository."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT CAST(id AS TEXT), embedding_id FROM extractions"))
        return {row[0]: row[1] for row in rows}


class TestUpdateEmbeddingIdsBatch:
    def test_updates_single_extraction(self, engine: Engine) -> None:
        with writing(engine) as session:
            chosen, other = store_extractions(session, 2)
        with writing(engine) as session:
            assert ExtractionRepository(session).update_embedding_ids_batch([chosen]) == 1
        assert embedding_ids(engine) == {str(chosen): str(chosen), str(other): None}

    def test_updates_multiple_extractions(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 500)
        with writing(engine) as session, statements(engine) as sent:
            assert ExtractionRepository(session).update_embedding_ids_batch(ids[:400]) == 400
        assert len(sent) == 1
        marks = embedding_ids(engine)
        assert all(marks[str(each)] == str(each) for each in ids[:400])
        assert all(marks[str(each)] is None for each in ids[400:])

    def test_empty_list_returns_zero(self, engine: Engine) -> None:
        with writing(engine) as session, statements(engine) as sent:
            assert ExtractionRepository(session).update_embedding_ids_batch([]) == 0
        assert sent == []

    def test_nonexistent_ids_ignored(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 3)
        unknown = [ExtractionId(uuid.uuid4()) for _ in range(5)]
        with writing(engine) as session:
            repository = ExtractionRepository(session)
            assert repository.update_embedding_ids_batch(unknown) == 0
            assert repository.update_embedding_ids_batch(unknown + ids) == 3

    @pytest.mark.slow
    def test_takes_300_000_ids_in_one_call(self, engine: Engine) -> None:
        """More ids than either database allows parameters; most have no row, to save time."""
        with writing(engine) as session:
            ids = store_extractions(session, 2_000)
        many = [
            *map(str, ids[:1_000]),
            *(f"00000000-0000-4000-8000-{n:012}" for n in range(300_000)),
            *map(str, ids),
        ]
        with writing(engine) as session, statements(engine) as sent:
            assert ExtractionRepository(session).update_embedding_ids_batch(many) == 2_000
        assert len(sent) == 1
        with engine.connect() as connection:
            same = text("SELECT count(*) FROM extractions WHERE embedding_id = CAST(id AS TEXT)")
            assert connection.scalar(same) == 2_000

    def test_takes_ids_as_text_in_any_spelling(self, engine: Engine) -> None:
        with writing(engine) as session:
            first, second, third = store_extractions(session, 3)
        spelled = [str(first), str(second).upper(), third.hex, "no id", ""]
        with writing(engine) as session:
            assert ExtractionRepository(session).update_embedding_ids_batch(spelled) == 3
        assert embedding_ids(engine) == {str(each): str(each) for each in (first, second, third)}

    def test_counts_rows_that_change(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 4)
            repository = ExtractionRepository(session)
            assert repository.update_embedding_ids_batch(ids[:3] + ids[:3]) == 3
            assert repository.update_embedding_ids_batch(ids) == 1

    def test_is_undone_with_its_transaction(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 2)

        def mark_and_fail() -> None:
            with writing(engine) as session:
                ExtractionRepository(session).update_embedding_ids_batch(ids)
                raise KeyError

        with pytest.raises(KeyError):
            mark_and_fail()
        assert set(embedding_ids(engine).values()) == {None}


class TestCreateBatch:
    def test_returns_the_ids_that_were_new(self, engine: Engine) -> None:
        with writing(engine) as session:
            project = make_project(session)
            rows = [new_extraction(session, project) for _ in range(6)]
            repository = ExtractionRepository(session)
            assert repository.create_batch(rows[:4]) == {row.id for row in rows[:4]}
            assert repository.create_batch(rows[2:]) == {row.id for row in rows[4:]}
            assert repository.create_batch(rows) == set()
            assert repository.count() == 6

    def test_stores_what_was_handed_in(self, engine: Engine) -> None:
        data = {
            "text": 'naïve "quoted" \\ \n 日本',
            "n": 2**63 - 1,
            "x": 0.1,
            "deep": {"list": [1, 1.0, None, True]},
        }
        with writing(engine) as session:
            new = new_extraction(
                session,
                make_project(session),
                uri="file:b",
                group="g",
                data=data,
                confidence=0.1,
                extraction_type="t",
            )
            assert ExtractionRepository(session).create(new)
        with writing(engine) as session:
            row = ExtractionRepository(session).get(new.id)
        assert row.data == data
        assert [type(each) for each in row.data["deep"]["list"]] == [int, float, type(None), bool]
        assert (row.id, row.project_id, row.source_uri, row.source_group) == (
            new.id,
            new.project_id,
            "file:b",
            "g",
        )
        assert (row.extraction_type, row.confidence, row.embedding_id, row.set_aside_reason) == (
            "t",
            0.1,
            None,
            None,
        )

    def test_keeps_the_first_of_equal_ids(self, engine: Engine) -> None:
        with writing(engine) as session:
            first = new_extraction(session, make_project(session), data={"n": 1}, confidence=0.5)
            again = first._replace(data={"n": 2}, confidence=None)
            repository = ExtractionRepository(session)
            assert repository.create_batch([first, again]) == {first.id}
            assert not repository.create(again)
            assert repository.get(first.id).data == {"n": 1}

    def test_empty_list_sends_nothing(self, engine: Engine) -> None:
        with writing(engine) as session, statements(engine) as sent:
            assert ExtractionRepository(session).create_batch([]) == set()
        assert sent == []

    @pytest.mark.needs(CONNECTIONS)
    def test_each_new_row_is_told_to_one_of_several_writers(self, engine: Engine) -> None:
        with writing(engine) as session:
            template = new_extraction(session, make_project(session))
        rows = [template._replace(id=ExtractionId(uuid.uuid4())) for _ in range(400)]
        together = threading.Barrier(4)

        def store(mine: list[NewExtraction]) -> set[ExtractionId]:
            together.wait()
            with writing(engine) as session:
                return ExtractionRepository(session).create_batch(mine)

        orders = [rows, rows[::-1], rows[100:] + rows[:100], rows[::-1]]
        with ThreadPoolExecutor(4) as pool:
            told = list(pool.map(store, orders))
        assert sum(map(len, told)) == len(rows)
        assert set.union(*told) == {row.id for row in rows}


class TestGetBatch:
    def test_keeps_the_order_of_the_ids(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 5)[::-1]
            asked = [ids[0], ExtractionId(uuid.uuid4()), *ids[1:], ids[0]]
            with statements(engine) as sent:
                rows = ExtractionRepository(session).get_batch(asked)
        assert [row.id for row in rows] == ids
        assert len(sent) == 1

    def test_empty_list_sends_nothing(self, engine: Engine) -> None:
        with writing(engine) as session, statements(engine) as sent:
            assert ExtractionRepository(session).get_batch([]) == []
        assert sent == []


class TestClearEmbeddingIds:
    def test_clears_those_named(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 4)
            repository = ExtractionRepository(session)
            repository.update_embedding_ids_batch(ids[:3])
            with statements(engine) as sent:
                assert repository.clear_embedding_ids_batch({ids[0], ids[3]}) == 1
            assert len(sent) == 1
            assert repository.find_orphaned(limit=10) == [ids[0], ids[3]]
            assert repository.clear_embedding_ids_batch([]) == 0

    def test_clears_all(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 4)
            repository = ExtractionRepository(session)
            repository.update_embedding_ids_batch(ids[:2])
            repository.set_aside({ids[2]: "no text"})
            assert repository.any_marked()
            assert repository.clear_all_embedding_ids() == 3
            assert not repository.any_marked()
            assert repository.find_orphaned(limit=10) == ids
