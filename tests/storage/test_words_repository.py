"""The words of extractions in SQL, and the full-text index of each dialect over them."""

import uuid
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from support.plans import plan
from support.rows import new_extraction, statements, store_extractions, writing
from support.wheres import where

from app.database import WriteSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, RunId, project_id_of
from app.models import Extraction, ExtractionWords
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.words import Documents, WordsRepository, WordsRow

pytestmark = pytest.mark.contract

PAPERS = project_id_of("papers")
ALL = Filters(project_id=PAPERS)


def token(number: int) -> str:
    """A token as the encoder makes them: eight of a to z and 2 to 7."""
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    return "".join(letters[number // 32**place % 32] for place in reversed(range(8)))


def words_row(id_: ExtractionId, *numbers: int, **changes: Any) -> WordsRow:
    tokens = sorted(map(token, numbers))
    row = WordsRow(id_, 101, "en", len(tokens), "1" * len(tokens), " ".join(tokens))
    return row._replace(**changes)


def store_words(session: Session, documents: list[list[int]], project: str = "papers") -> list[ExtractionId]:
    """Store an extraction for each of these, with these tokens; their ids, in order."""
    ids = store_extractions(session, len(documents), project)
    rows = [words_row(id_, *numbers) for id_, numbers in zip(ids, documents, strict=True)]
    WordsRepository(session).add_batch(rows)
    return ids


def check_index(session: Session) -> None:
    """SQLite's own check that the full-text index is that of the table."""
    if session.get_bind().dialect.name == "sqlite":
        session.execute(
            text(
                "INSERT INTO extraction_words_index(extraction_words_index, rank) VALUES('integrity-check', 1)"
            )
        )


def ids_of(found: Documents) -> set[str]:
    return set(found.ids)


def found_by(session: Session, *numbers: int) -> list[set[str]]:
    """The ids that have each token."""
    words = WordsRepository(session)
    lists = words.postings([token(number) for number in numbers], 1_000)
    return [ids_of(words.documents(rows, ALL)) for rows in lists.values()]


def as_texts(ids: list[ExtractionId]) -> set[str]:
    return set(map(str, ids))


class TestWriting:
    def test_what_was_added_is_read_as_it_was(self, engine: Engine) -> None:
        with writing(engine) as session:
            [id_] = store_extractions(session, 1)
            row = words_row(id_, 5, 3, 9, counts="12z", length=40, language="de")
            words = WordsRepository(session)
            words.add_batch([row])
            tokens = f"{token(3)} {token(5)} {token(9)}"
            assert words.documents_of([id_]) == Documents([str(id_)], [40], ["12z"], [tokens])
            assert words.made_by([id_]) == {str(id_): 101}
            assert words.languages([id_]) == ("de",)

    def test_nothing_is_added_and_deleted(self, engine: Engine) -> None:
        with writing(engine) as session:
            words = WordsRepository(session)
            words.add_batch([])
            words.delete_batch([])
            assert words.postings([], 10) == {}
            assert len(words.documents([], ALL)) == len(words.documents_of([])) == 0

    def test_an_extraction_without_words_is_a_document_without_tokens(self, engine: Engine) -> None:
        with writing(engine) as session:
            [id_] = store_words(session, [[]])
            assert WordsRepository(session).documents_of([id_]) == Documents([str(id_)], [0], [""], [""])

    def test_many_are_added_at_once(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_words(session, [[number, 10_000] for number in range(2_500)])
            assert found_by(session, 7, 2_499) == [{str(ids[7])}, {str(ids[2_499])}]
            assert session.scalar(select(func.count()).select_from(ExtractionWords)) == 2_500
            check_index(session)

    def test_an_extraction_has_its_words_once(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_words(session, [[1]])
        with Session(engine) as session, pytest.raises(IntegrityError):
            WordsRepository(session).add_batch([words_row(ids[0], 2)])
        with writing(engine) as session:
            assert found_by(session, 1, 2) == [as_texts(ids), set()]
            check_index(session)

    def test_words_are_deleted_and_added_again(self, engine: Engine) -> None:
        with writing(engine) as session:
            gone, kept = store_words(session, [[1, 2], [2, 3]])
            words = WordsRepository(session)
            words.delete_batch([gone])
            assert found_by(session, 1, 2, 3) == [set(), {str(kept)}, {str(kept)}]
            words.add_batch([words_row(gone, 3, 4)])
            assert found_by(session, 1, 2, 3, 4) == [set(), {str(kept)}, {str(gone), str(kept)}, {str(gone)}]
            check_index(session)

    def test_they_go_with_their_extraction(self, engine: Engine) -> None:
        with writing(engine) as session:
            gone, kept = store_words(session, [[1, 2], [2, 3]])
            session.execute(delete(Extraction).where(Extraction.id == gone))
            assert found_by(session, 1, 2) == [set(), {str(kept)}]
            assert session.scalar(select(func.count()).select_from(ExtractionWords)) == 1
            check_index(session)

    def test_they_go_with_their_project(self, engine: Engine) -> None:
        with writing(engine) as session:
            store_words(session, [[1], [2]])
            kept = store_words(session, [[3]], project="other")
            ProjectRepository(session).delete("papers")
            assert found_by(session, 1, 2) == [set(), set()]
            assert list(session.scalars(select(ExtractionWords.extraction_id))) == kept
            check_index(session)

    def test_a_transaction_that_was_rolled_back_leaves_none(self, engine: Engine) -> None:
        with WriteSession(engine) as session:
            store_words(session, [[1]])
            session.rollback()
        with writing(engine) as session:
            assert found_by(session, 1) == [set()]
            check_index(session)


class TestFinding:
    def test_each_token_has_its_rows_in_one_statement(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_words(session, [[1, 2], [2, 3], [3]])
            with statements(engine) as sent:
                lists = WordsRepository(session).postings([token(n) for n in (3, 1, 9, 2)], 10)
            assert len(sent) == 1
            assert [len(rows) for rows in lists.values()] == [2, 1, 0, 2]
            assert list(lists) == [token(n) for n in (3, 1, 9, 2)]
            assert found_by(session, 2) == [as_texts(ids[:2])]

    def test_a_list_has_at_most_so_many(self, engine: Engine) -> None:
        with writing(engine) as session:
            store_words(session, [[1] for _ in range(20)])
            words = WordsRepository(session)
            assert len(set(words.postings([token(1)], 7)[token(1)])) == 7
            assert len(set(words.having_all([token(1)], 7))) == 7

    @pytest.mark.parametrize(
        ("wanted", "places"),
        [((1,), {0, 2}), ((1, 2), {0, 2}), ((1, 2, 3), {2}), ((1, 9), set()), ((3, 2), {1, 2})],
    )
    def test_all_tokens_are_asked_for(self, engine: Engine, wanted: tuple[int, ...], places: set[int]) -> None:
        with writing(engine) as session:
            ids = store_words(session, [[1, 2], [2, 3], [1, 2, 3]])
            words = WordsRepository(session)
            rows = words.having_all([token(number) for number in wanted], 100)
            assert ids_of(words.documents(rows, ALL)) == {str(ids[place]) for place in places}

    def test_tokens_that_look_like_operators_are_words(self, engine: Engine) -> None:
        """``and``, ``or``, ``not`` and ``near`` are shorter than eight letters, a token's length.

        A token of digits stays one.
        """
        with writing(engine) as session:
            ids = store_extractions(session, 2)
            names = ["22222222", "notandor", "nearnear", "2e234567"]
            row = WordsRow(ids[0], 101, "en", 4, "1111", " ".join(sorted(names)))
            words = WordsRepository(session)
            words.add_batch([row, words_row(ids[1], 1)])
            assert [len(rows) for rows in words.postings(names, 10).values()] == [1, 1, 1, 1]
            assert len(words.having_all(names, 10)) == 1

    def test_sixty_four_tokens_are_looked_up_at_once(self, engine: Engine) -> None:
        with writing(engine) as session:
            store_words(session, [list(range(64))])
            lists = WordsRepository(session).postings([token(number) for number in range(64)], 10)
            assert [len(rows) for rows in lists.values()] == [1] * 64
            assert len(WordsRepository(session).having_all([token(number) for number in range(64)], 10)) == 1


RUN = RunId(uuid.UUID(int=7))
PASSING: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"a", "b", "c"}),
    ({"source_groups": ("g",)}, {"a"}),
    ({"extraction_types": ("claim",)}, {"b"}),
    ({"extraction_types": ("claim", "fact")}, {"a", "b", "c"}),
    ({"min_confidence": 0.5}, {"b"}),
    ({"max_confidence": 0.5}, {"a"}),
    ({"where": where({"n": 3})}, {"c"}),
    ({"where": where({"n": 3}), "extraction_types": ("claim",)}, set()),
    ({"source_uris": ("file:b",)}, {"b"}),
    ({"indexed": True}, {"c"}),
    ({"indexed": False}, {"a", "b"}),
    ({"set_aside": True}, {"b"}),
    ({"run_ids": (RUN,)}, {"c"}),
    ({"extraction_ids": ()}, set()),
]


class TestReading:
    @pytest.mark.parametrize(("filters", "names"), PASSING)
    def test_documents_pass_every_filter(
        self, engine: Engine, filters: dict[str, Any], names: set[str]
    ) -> None:
        with writing(engine) as session:
            ids = _store_three(session)
            words = WordsRepository(session)
            rows = words.postings([token(1)], 10)[token(1)]
            found = words.documents(rows, Filters(PAPERS, **filters))
            assert ids_of(found) == {str(ids[name]) for name in names}
            assert set(found.tokens) <= {token(1)}

    def test_only_the_given_rows_are_read(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = _store_three(session)
            words = WordsRepository(session)
            assert len(words.documents([], Filters(PAPERS, min_confidence=0.1))) == 0
            assert ids_of(words.documents_of([ids["a"], ExtractionId(uuid.uuid4())])) == {str(ids["a"])}

    def test_a_sample_is_of_its_project_and_the_same_each_time(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_words(session, [[number] for number in range(9)])
            store_words(session, [[1]], project="other")
            words = WordsRepository(session)
            assert ids_of(words.sample(PAPERS, 4)) == as_texts(sorted(ids)[:4])
            assert ids_of(words.sample(PAPERS, 100)) == as_texts(ids)
            assert len(words.sample(project_id_of("none"), 100)) == 0

    def test_who_made_them_leaves_out_what_has_none(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 3)
            words = WordsRepository(session)
            words.add_batch([words_row(ids[0], 1), words_row(ids[1], 2, made_by=7)])
            assert words.made_by(ids) == {str(ids[0]): 101, str(ids[1]): 7}

    def test_languages_come_with_the_most_frequent_first(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 6)
            given = ["fr", "de", "de", "en", "de", "en"]
            words = WordsRepository(session)
            words.add_batch([words_row(id_, 1, language=name) for id_, name in zip(ids, given, strict=True)])
            assert words.languages(ids) == ("de", "en", "fr")
            assert words.languages(ids[:1]) == ("fr",)
            assert words.languages([]) == ()


def _store_three(session: Session) -> dict[str, ExtractionId]:
    """Three that have the same word and pass different filters."""
    project = ProjectRepository(session).get_or_create("papers").id
    rows = {
        "a": new_extraction(session, project, uri="file:a", group="g", confidence=0.2, data={"n": 1}),
        "b": new_extraction(
            session, project, uri="file:b", extraction_type="claim", confidence=0.8, data={"n": 2}
        ),
        "c": new_extraction(session, project, uri="file:c", data={"n": 3}, first_run_id=RUN, last_run_id=RUN),
    }
    extractions = ExtractionRepository(session)
    extractions.create_batch(list(rows.values()))
    ids = {name: row.id for name, row in rows.items()}
    extractions.update_embedding_ids_batch([ids["c"]])
    extractions.set_aside({ids["b"]: "unreadable"})
    WordsRepository(session).add_batch([words_row(id_, 1) for id_ in ids.values()])
    return ids


class TestPlans:
    @pytest.fixture
    def many(self, engine: Engine) -> Engine:
        with writing(engine) as session:
            store_words(session, [[number % 50, 100 + number] for number in range(1_000)])
        return engine

    def test_tokens_are_looked_up_in_the_full_text_index(self, many: Engine) -> None:
        for work in (
            lambda session: WordsRepository(session).postings([token(101), token(102)], 10),
            lambda session: WordsRepository(session).having_all([token(1), token(101)], 10),
        ):
            used = plan(many, work)
            if many.dialect.name == "sqlite":
                assert "extraction_words_index VIRTUAL TABLE INDEX" in used
                assert "SCAN extraction_words\n" not in used
            else:
                assert "ix_extraction_words_tokens" in used

    def test_documents_are_read_by_their_number(self, many: Engine) -> None:
        used = plan(many, lambda session: WordsRepository(session).documents([1, 2, 3], ALL))
        assert ("USING INTEGER PRIMARY KEY" if many.dialect.name == "sqlite" else "pk_extraction_words") in used

    def test_documents_of_extractions_are_read_by_their_id(self, many: Engine) -> None:
        with Session(many) as session:
            ids = list(session.scalars(select(ExtractionWords.extraction_id).limit(3)))
        used = plan(many, lambda session: WordsRepository(session).documents_of(ids))
        assert "ix_extraction_words_extraction_id" in used


def test_tokens_of_this_test_are_apart() -> None:
    assert max(Counter(map(token, range(3_000))).values()) == 1
