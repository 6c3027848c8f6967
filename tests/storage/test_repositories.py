"""Projects, sources, extractions and the index state, a row at a time and a page at a time."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, func, inspect, select
from sqlalchemy.orm import Session
from support.backends import CONNECTIONS
from support.plans import plan
from support.rows import make_project, new_extraction, statements, store_extractions, writing
from support.wheres import where

from app.database import WriteSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, RunId, project_id_of, source_id_of
from app.errors import NotFound, ProjectExists
from app.models import Source
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.index_state import IndexStateRepository
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.source import SourceRepository

pytestmark = pytest.mark.contract

FIRST_RUN, LAST_RUN = RunId(uuid.UUID(int=1)), RunId(uuid.UUID(int=2))
OF_A = Filters(project_id=project_id_of("a"))


class TestProjects:
    def test_create_and_find(self, engine: Engine) -> None:
        with writing(engine) as session:
            projects = ProjectRepository(session)
            made = projects.create("a")
            assert made.id == project_id_of("a")
            assert projects.get("a") is made
            assert projects.find("b") is None
            with pytest.raises(NotFound, match="no project 'b'"):
                projects.get("b")

    def test_a_name_is_taken_once(self, engine: Engine) -> None:
        with writing(engine) as session:
            projects = ProjectRepository(session)
            projects.create("a")
            with pytest.raises(ProjectExists, match="already"):
                projects.create("a")
            assert projects.get_or_create("a").id == project_id_of("a")

    @pytest.mark.needs(CONNECTIONS)
    def test_several_may_get_or_create_at_once(self, engine: Engine) -> None:
        def make(_: int) -> uuid.UUID:
            with writing(engine) as session:
                return make_project(session, "a")

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(make, range(8))) == {project_id_of("a")}

    def test_list_counts(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 3, "b")
            store_extractions(session, 2, "b", uri="file:b")
            store_extractions(session, 1, "a")
            make_project(session, "c")
            ExtractionRepository(session).update_embedding_ids_batch(ids[:2])
            found = ProjectRepository(session).list()
        assert [(each.name, each.sources, each.extractions, each.indexed) for each in found] == [
            ("a", 1, 1, 0),
            ("b", 2, 5, 2),
            ("c", 0, 0, 0),
        ]

    def test_list_goes_page_by_page(self, engine: Engine) -> None:
        with writing(engine) as session:
            for name in ("d", "b", "e", "a", "c"):
                store_extractions(session, ord(name) - ord("a"), name)
            projects = ProjectRepository(session)
            pages = [projects.list(limit=2), projects.list(after="b", limit=2), projects.list(after="bb")]
            assert [[(each.name, each.extractions) for each in page] for page in pages] == [
                [("a", 0), ("b", 1)],
                [("c", 2), ("d", 3)],
                [("c", 2), ("d", 3), ("e", 4)],
            ]
            assert projects.list(after="e", limit=2) == []

    def test_delete_takes_everything_with_it(self, engine: Engine) -> None:
        with writing(engine) as session:
            gone, kept = store_extractions(session, 2, "a"), store_extractions(session, 1, "b")
            projects = ProjectRepository(session)
            assert projects.delete("a")
            assert not projects.delete("a")
            assert ExtractionRepository(session).existing_ids(gone + kept) == set(kept)
            assert [each.name for each in projects.list()] == ["b"]


class TestSources:
    def test_ids_follow_from_project_and_uri(self, engine: Engine) -> None:
        with writing(engine) as session:
            here, there = make_project(session, "a"), make_project(session, "b")
            sources = SourceRepository(session)
            ids, *_ = sources.create_batch(here, [("file:a", None), ("file:b", "g")])
            assert ids == {uri: source_id_of(here, uri) for uri in ("file:a", "file:b")}
            again = sources.create_batch(here, [("file:b", "g")])
            assert again == ({"file:b": ids["file:b"]}, set(), {})
            assert sources.create_batch(there, [("file:b", "g")])[0]["file:b"] != ids["file:b"]

    def test_a_source_takes_the_last_group_that_was_given(self, engine: Engine) -> None:
        with writing(engine) as session:
            project = make_project(session)
            sources = SourceRepository(session)
            ids, new, regrouped = sources.create_batch(
                project, [("file:x", None), ("file:x", "one"), ("file:y", "two")]
            )
            assert (new, regrouped) == (set(ids.values()), {}), "these are new"
            repository = ExtractionRepository(session)
            repository.create(new_extraction(session, project, uri="file:x", group="three"))
            assert repository.get_by_source(ids["file:x"])[0].source_group == "three"
            given = [("file:x", "four"), ("file:y", "two"), ("file:x", "five"), ("file:x", None)]
            assert sources.create_batch(project, given) == (ids, set(), {ids["file:x"]: ("three", "five")})
            assert repository.get_by_source(ids["file:x"])[0].source_group == "five"

    @pytest.mark.needs(CONNECTIONS)
    def test_a_regrouping_waits_for_what_is_being_added(self, engine: Engine) -> None:
        """Else the payload of an extraction added meanwhile would keep the old group."""
        with writing(engine) as session:
            project = make_project(session)
            SourceRepository(session).create_batch(project, [("file:x", "old")])

        def regroup() -> list[ExtractionId]:
            with writing(engine) as session:
                regrouped = SourceRepository(session).create_batch(project, [("file:x", "new")]).regrouped
                pages = ExtractionRepository(session).iter_ids_of_sources(regrouped, size=10)
                return [id_ for page in pages for id_ in page]

        with ThreadPoolExecutor(1) as pool:
            with writing(engine) as session:
                added = new_extraction(session, project, uri="file:x", group="old")
                ExtractionRepository(session).create(added)
                regrouping = pool.submit(regroup)
                wait([regrouping], timeout=0.5)
                assert not regrouping.done()
            assert regrouping.result() == [added.id]

    def test_no_sources_are_no_work(self, engine: Engine) -> None:
        with writing(engine) as session:
            assert SourceRepository(session).create_batch(make_project(session), []) == ({}, set(), {})


class TestExtractions:
    def test_get_names_what_is_not_there(self, engine: Engine) -> None:
        missing = ExtractionId(uuid.uuid4())
        with writing(engine) as session, pytest.raises(NotFound, match=str(missing)):
            ExtractionRepository(session).get(missing)

    def test_get_by_source(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 3, uri="file:a")
            store_extractions(session, 2, uri="file:b")
            source = source_id_of(make_project(session), "file:a")
            assert [row.id for row in ExtractionRepository(session).get_by_source(source)] == ids

    def test_list_goes_page_by_page(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 7)
            store_extractions(session, 3, "other")
            project, repository = make_project(session), ExtractionRepository(session)
            mine = Filters(project_id=project)
            first = repository.list(mine, limit=4)
            rest = repository.list(mine, after=first[-1].id, limit=4)
            assert [row.id for row in first + rest] == ids
            assert repository.list(mine, after=rest[-1].id, limit=4) == []
            assert len(repository.list(limit=20)) == repository.count() == 10

    @pytest.mark.parametrize("most_bytes", [1, 40, 10_000])
    def test_a_page_within_bytes_is_never_empty_and_skips_nothing(
        self, engine: Engine, most_bytes: int
    ) -> None:
        with writing(engine) as session:
            ids = store_extractions(session, 40)
            repository, found, pages, cut = ExtractionRepository(session), list[ExtractionId](), 0, True
            while cut:
                after = found[-1] if found else None
                rows, cut = repository.list_within(most_bytes, after=after, limit=100)
                assert rows
                assert len(rows) == 1 or sum(len(orjson.dumps(row.data)) for row in rows) <= most_bytes
                found += [row.id for row in rows]
                pages += 1
            assert found == ids
            assert (pages == 1) is (most_bytes == 10_000)

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (Filters(), {"a", "b", "c"}),
            (Filters(source_groups=("g",)), {"a"}),
            (Filters(source_groups=("g", "h")), {"a", "b"}),
            (Filters(extraction_types=("claim",)), {"b", "c"}),
            (Filters(min_confidence=0.5), {"b"}),
            (Filters(max_confidence=0.5), {"a", "b"}),
            (Filters(min_confidence=0.1, max_confidence=0.4), {"a"}),
            (Filters(where=where({"name": "c"})), {"c"}),
            (Filters(extraction_types=("claim",), where=where({"name": "a"})), set()),
        ],
    )
    def test_list_and_count_filter(self, engine: Engine, filters: Filters, expected: set[str]) -> None:
        rows: list[dict[str, Any]] = [
            {"data": {"name": "a"}, "uri": "file:a", "group": "g", "confidence": 0.1},
            {
                "data": {"name": "b"},
                "uri": "file:b",
                "group": "h",
                "confidence": 0.5,
                "extraction_type": "claim",
            },
            {"data": {"name": "c"}, "uri": "file:c", "extraction_type": "claim"},
        ]
        with writing(engine) as session:
            project, repository = make_project(session), ExtractionRepository(session)
            repository.create_batch([new_extraction(session, project, **row) for row in rows])
            mine = replace(filters, project_id=project)
            assert {row.data["name"] for row in repository.list(mine, limit=10)} == expected
            assert repository.count(mine) == len(expected)
            listed = repository.list(Filters(project_id=project), limit=10)
            passing = {row.id for row in listed if row.data["name"] in expected}
            assert repository.list_ids(mine, limit=10) == sorted(passing)

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            (Filters(run_ids=(FIRST_RUN,)), {"new", "indexed"}),
            (Filters(run_ids=(str(LAST_RUN),)), {"indexed", "set aside"}),
            (Filters(run_ids=(FIRST_RUN, LAST_RUN)), {"new", "indexed", "set aside"}),
            (Filters(run_ids=(uuid.UUID(int=3),)), set()),
            (Filters(indexed=True), {"indexed"}),
            (Filters(indexed=False), {"new", "set aside", "of no run"}),
            (Filters(set_aside=True), {"set aside"}),
            (Filters(set_aside=False), {"new", "indexed", "of no run"}),
            (Filters(indexed=False, set_aside=False), {"new", "of no run"}),
            (Filters(indexed=True, set_aside=True), set()),
            (Filters(run_ids=(FIRST_RUN,), indexed=False), {"new"}),
        ],
    )
    def test_runs_and_the_state_of_the_vector_filter_too(
        self, engine: Engine, filters: Filters, expected: set[str]
    ) -> None:
        rows: list[dict[str, Any]] = [
            {"data": {"name": "new"}, "first_run_id": FIRST_RUN, "last_run_id": FIRST_RUN},
            {"data": {"name": "indexed"}, "first_run_id": FIRST_RUN, "last_run_id": LAST_RUN},
            {"data": {"name": "set aside"}, "first_run_id": LAST_RUN, "last_run_id": LAST_RUN},
            {"data": {"name": "of no run"}},
        ]
        with writing(engine) as session:
            project, repository = make_project(session), ExtractionRepository(session)
            new = [new_extraction(session, project, **row) for row in rows]
            repository.create_batch(new)
            repository.update_embedding_ids_batch([new[1].id])
            repository.set_aside({new[2].id: "no text"})
            mine = replace(filters, project_id=project)
            assert {row.data["name"] for row in repository.list(mine, limit=10)} == expected
            assert repository.count(mine) == repository.count(filters) == len(expected)
            ids = [each.id for each in new]
            passing = {each.id for each in new if each.data["name"] in expected}
            assert repository.keep_passing(ids, mine) == passing

    def test_the_ids_may_be_chosen_too(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids, repository = store_extractions(session, 4), ExtractionRepository(session)
            other = store_extractions(session, 1, "other")
            chosen = Filters(extraction_ids=(ids[2], str(ids[0]), str(uuid.uuid4()), *other))
            assert [row.id for row in repository.list(chosen, limit=9)] == sorted([ids[0], ids[2], *other])
            mine = replace(chosen, project_id=make_project(session))
            assert repository.list_ids(mine, limit=9) == [ids[0], ids[2]]
            assert repository.count(mine) == 2
            assert repository.list(Filters(extraction_ids=()), limit=9) == []
            assert repository.count(Filters(extraction_ids=())) == 0

    def test_orphans_are_neither_marked_nor_set_aside(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids, repository = store_extractions(session, 6), ExtractionRepository(session)
            repository.update_embedding_ids_batch([ids[0]])
            repository.set_aside({ids[1]: "no text", ids[0]: "has a vector"})
            repository.set_aside({})
            assert repository.find_orphaned(limit=3) == ids[2:5]
            assert repository.find_orphaned(after=ids[4], limit=3) == ids[5:]
            assert repository.count_orphaned() == 4
            assert [repository.get(each).set_aside_reason for each in ids[:2]] == [None, "no text"]

    def test_a_batch_of_many_megabytes_is_stored_a_document_at_a_time(self, engine: Engine) -> None:
        with writing(engine) as session:
            project = make_project(session)
            rows = [new_extraction(session, project, data={"n": n, "text": "ü" * 600_000}) for n in range(9)]
            extractions = ExtractionRepository(session)
            assert extractions.create_batch(rows[:2]) == {row.id for row in rows[:2]}
            with statements(engine) as sent:
                assert extractions.create_batch(rows) == {row.id for row in rows[2:]}
            assert len([each for each in sent if each.startswith("INSERT INTO extractions")]) == 3
            stored = extractions.list(Filters(project_id=project), limit=9)
        assert {row.id: row.data["n"] for row in stored} == {row.id: row.data["n"] for row in rows}

    def test_existing_ids(self, engine: Engine) -> None:
        with writing(engine) as session:
            ids, repository = store_extractions(session, 2), ExtractionRepository(session)
            with statements(engine) as sent:
                assert repository.existing_ids([*map(str, ids), str(uuid.uuid4()), "no id"]) == set(ids)
            assert len(sent) == 1
            assert repository.existing_ids([]) == set()


class TestIndexState:
    def test_is_put_and_replaced(self, engine: Engine) -> None:
        with writing(engine) as session:
            states = IndexStateRepository(session)
            assert states.get() is None
            states.put("wordllama", "1", 256, texts="version 1", rebuilding=False)
        with writing(engine) as session:
            IndexStateRepository(session).put("openai", "2", 1536, texts="version 2", rebuilding=True)
        with writing(engine) as session:
            state = IndexStateRepository(session).get()
            assert state is not None
            found = (
                state.embedder_name,
                state.embedder_version,
                state.dimension,
                state.texts,
                state.rebuilding,
            )
        assert found == ("openai", "2", 1536, "version 2", True)


@pytest.mark.parametrize(
    ("index", "work"),
    [
        ("ix_extractions_orphaned", lambda e, _id: e.find_orphaned(after=_id, limit=10)),
        ("ix_extractions_orphaned", lambda e, _id: e.count_orphaned()),
        ("ix_extractions_project_id_id", lambda e, _id: e.list(OF_A, after=_id, limit=10)),
        (
            "ix_extractions_project_id_id",
            lambda e, _id: e.list_ids(replace(OF_A, where=where({"a": 1})), limit=9),
        ),
        (
            "ix_extractions_orphaned",
            lambda e, _id: e.list_ids(Filters(indexed=False, set_aside=False), limit=9),
        ),
        ("ix_extractions_set_aside", lambda e, _id: e.list_ids(Filters(set_aside=True), limit=9)),
        ("ix_extractions_set_aside", lambda e, _id: e.list(replace(OF_A, set_aside=True), limit=9)),
        ("ix_extractions_set_aside", lambda e, _id: e.count(replace(OF_A, set_aside=True))),
        ("ix_extractions_source_id", lambda e, _id: e.get_by_source(source_id_of(project_id_of("a"), "b"))),
        (("sqlite_autoindex_extractions_1", "pk_extractions"), lambda e, _id: e.get_batch([_id, _id])),
        (
            ("sqlite_autoindex_extractions_1", "pk_extractions"),
            lambda e, _id: e.update_embedding_ids_batch([_id]),
        ),
    ],
)
def test_queries_use_their_index(
    engine: Engine, index: str | tuple[str, ...], work: Callable[[ExtractionRepository, ExtractionId], Any]
) -> None:
    with writing(engine) as session:
        ids = store_extractions(session, 500)
        store_extractions(session, 500, "a")
        ExtractionRepository(session).update_embedding_ids_batch(ids)

    def run(session: Session) -> None:
        work(ExtractionRepository(session), ids[250])

    found = plan(engine, run)
    names = (index,) if isinstance(index, str) else index
    assert any(name in found for name in names), found
    assert "TEMP B-TREE" not in found
    assert "Seq Scan on extractions" not in found


def test_projects_are_listed_by_their_index_and_by_code_point(engine: Engine) -> None:
    names = ["a", "B", "a-b", "a.b", "A", "ab", "0", "b"]
    with writing(engine) as session:
        for name in [*names, *(f"p{number}" for number in range(500))]:
            make_project(session, name)
    with WriteSession(engine) as session:
        listed = [project.name for project in ProjectRepository(session).list(limit=len(names))]
    assert listed == sorted(names)
    found = plan(engine, lambda session: ProjectRepository(session).list(after="p2", limit=10))
    assert any(index in found for index in ("uq_projects_name", "sqlite_autoindex_projects_2")), found


def test_no_index_holds_a_uri(engine: Engine) -> None:
    """PostgreSQL's take 2,704 bytes; the id, which is made of it, keeps it unique."""
    held = [index["column_names"] for index in inspect(engine).get_indexes("sources")]
    assert held == [["project_id", "source_group"]]
    assert inspect(engine).get_unique_constraints("sources") == []
    with writing(engine) as session:
        project = make_project(session)
        uris = [(f"doc:{number}", None) for number in range(500)]
        SourceRepository(session).create_batch(project, uris)
    counted = select(func.count()).where(Source.project_id == project)
    assert "ix_sources_project_id_source_group" in plan(engine, lambda session: session.execute(counted))
