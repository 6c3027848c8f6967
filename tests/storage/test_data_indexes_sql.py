"""What is found by an index is what is found without one, on every dialect."""

import random
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, literal, text
from sqlalchemy.orm import Session
from support import conditions as drawn
from support.conditions import Fact, matches
from support.examples import examples
from support.plans import plan
from support.rows import make_project, new_extraction, statements, writing

from app.domain.conditions import Condition, Field, leaves
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, ProjectId
from app.intake.where_text import parse_order, parse_where, write_path
from app.services.creating import create_facts
from app.services.storage.repositories.data_indexes import FEW, DataIndexRepository, IndexState
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facts import Assertion, FactRepository
from app.services.storage.repositories.filtering import passing
from app.services.storage.repositories.ordering import Ordering

pytestmark = pytest.mark.contract


def make_indexes(session: Session, paths: Sequence[str]) -> None:
    """Make the indexes before there is anything to fill them with."""
    indexes = DataIndexRepository(session)
    for path in paths:
        indexes.set_state(indexes.create(path), IndexState.READY)


def store(session: Session, facts: Sequence[Fact]) -> list[ExtractionId]:
    """Store the facts in one project, each with its own source; return their ids, in order."""
    project = make_project(session)
    rows = [
        new_extraction(
            session,
            project,
            uri=f"file:{number}",
            extraction_type=fact.type,
            data=fact.data,
            metadata=fact.metadata,
            confidence=fact.confidence,
        )
        for number, fact in enumerate(facts)
    ]
    create_facts(session, rows)
    return [row.id for row in rows]


def of_data(condition: Condition) -> bool:
    return not any(isinstance(leaf.where, Field) for leaf in leaves(condition))


@pytest.mark.slow
@settings(max_examples=examples(40), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drawn.cases().filter(lambda case: of_data(case[0])), min_size=1, max_size=4))
def test_an_indexed_condition_holds_where_it_does_in_python(
    engines: list[Engine], cases: list[tuple[Condition, Fact]]
) -> None:
    conditions, facts = [case[0] for case in cases], [case[1] for case in cases]
    paths = {write_path(leaf.where) for condition in conditions for leaf in leaves(condition)}
    for engine in engines:
        with writing(engine) as session:
            make_indexes(session, sorted(paths))
            ids = store(session, facts)
            project, extractions = make_project(session), ExtractionRepository(session)
            for condition in conditions:
                expected = {id_ for id_, fact in zip(ids, facts, strict=True) if matches(condition, fact)}
                filters = Filters(project, where=condition)
                assert set(extractions.list_ids(filters, limit=100)) == expected
                assert extractions.count(filters) == len(expected)
                rows, _ = extractions.list_sorted(parse_order("-created"), 2**30, filters, limit=100)
                assert {row.id for row in rows} == expected
            session.rollback()


DOCUMENTS = [
    {
        "price": {"amount": number / 10},
        "sku": f"XR-{number}",
        "tags": ["indoor"] if number % 100 == 0 else ["outdoor"],
        "day": f"2025-01-{1 + number % 28:02}",
    }
    for number in range(1_000)
]
PATHS = ("price.amount", "sku", "tags", "day", "metadata.page")
NARROWED = (
    "price.amount >= 99",
    'sku = "XR-7"',
    'sku starts "XR-99"',
    "tags contains indoor",
    'sku in ("XR-1", "XR-2") and tags = outdoor',
    'price.amount < 1 or sku = "XR-500"',
    "day = 2025-01-28",
    "price.amount >= 50 and price.amount < 51",
)


@pytest.fixture
def project(engine: Engine) -> ProjectId:
    """A project of a thousand facts, with indexes."""
    with writing(engine) as session:
        made = make_project(session)
        make_indexes(session, PATHS)
        store(session, [Fact(data, {"page": number % 10}) for number, data in enumerate(DOCUMENTS)])
    return made


@pytest.mark.parametrize("condition", NARROWED)
def test_lists_and_counts_go_by_the_index(engine: Engine, project: ProjectId, condition: str) -> None:
    filters = Filters(project, where=parse_where(condition))
    works: list[Any] = [
        lambda session: ExtractionRepository(session).list_ids(filters, limit=10),
        lambda session: ExtractionRepository(session).count(filters),
        lambda session: session.execute(passing(session, filters, literal(1))),
    ]
    for work in works:
        found = plan(engine, work)
        by_key = "PRIMARY KEY (number=? AND key" if engine.dialect.name == "sqlite" else "pk_data_keys"
        assert by_key in found
        assert "Seq Scan on extractions" not in found
        assert "ix_extractions_project_id_id (project_id=?)" not in found


def test_what_an_index_does_not_narrow_is_read_without_it(engine: Engine, project: ProjectId) -> None:
    for condition in ("sku exists", 'not (sku = "XR-7")', 'sku = "XR-7" or missing = 1', 'type = "fact"'):
        with writing(engine) as session, statements(engine) as sent:
            ExtractionRepository(session).list_ids(Filters(project, where=parse_where(condition)), limit=10)
        assert "data_keys" not in sent[-1]


def test_a_page_of_what_nearly_all_have_is_read_without_the_index(
    engine: Engine, project: ProjectId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.storage.repositories.data_indexes.FEW", 100)
    assert FEW > 100
    filters = Filters(project, where=parse_where("price.amount >= 1"))
    with writing(engine) as session, statements(engine) as sent:
        assert len(ExtractionRepository(session).list_ids(filters, limit=10)) == 10
        assert "data_keys" not in sent[-1]
        assert ExtractionRepository(session).count(filters) == 990
        assert "data_keys" in sent[-1]
        monkeypatch.setattr("app.services.storage.repositories.data_indexes.SOME", 900)
        assert ExtractionRepository(session).count(filters) == 990
        assert "data_keys" not in sent[-1]


def test_of_two_indexes_the_one_is_used_that_finds_fewer(engine: Engine, project: ProjectId) -> None:
    filters = Filters(project, where=parse_where('tags = outdoor and sku = "XR-7"'))
    with writing(engine) as session:
        numbers = DataIndexRepository(session).ready()
        [narrowed] = DataIndexRepository(session).narrowed(filters.where, project, whole=False)  # type: ignore[arg-type]  # not None
        used = narrowed.compile(engine).params.values()
    assert numbers["sku"] in used
    assert numbers["tags"] not in used


def test_an_index_that_is_not_filled_is_not_used(engine: Engine, project: ProjectId) -> None:
    filters = Filters(project, where=parse_where('sku = "XR-7"'))
    with writing(engine) as session:
        indexes = DataIndexRepository(session)
        number = indexes.ready()["sku"]
        for state in (IndexState.FILLING, IndexState.DROPPING):
            indexes.set_state(number, state)
            assert ExtractionRepository(session).count(filters) == 1
            assert "sku" not in indexes.ready()
            filling = ["sku"] if state is IndexState.FILLING else []
            lacking = ["sku"] if state is IndexState.DROPPING else []
            assert indexes.would_help(parse_where('sku = "XR-7"')) == (lacking, filling)


HELP = [
    ("sku = a", ()),
    ("sku = a or missing = 1", ("missing",)),
    ("missing = 1 and other = 2", ("missing",)),
    ("sku = a or type = fact", ()),
    ("sku = a or sku exists", ()),
    ("missing = 1 or not (sku = a)", ()),
    ("not (missing = 1)", ()),
    (" or ".join(f"missing > {number}" for number in range(60)), ("missing",)),
    (" or ".join(f"price.amount > {number}" for number in range(60)), ()),
]


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(("condition", "paths"), HELP, ids=[case[0][:30] for case in HELP])
def test_only_an_index_that_would_help_is_named(engine: Engine, condition: str, paths: tuple[str, ...]) -> None:
    with writing(engine) as session:
        assert DataIndexRepository(session).would_help(parse_where(condition)) == (list(paths), [])


def test_a_number_is_never_used_again(engine: Engine) -> None:
    """Who still works on a dropped index must not meet another under its number."""
    with writing(engine) as session:
        indexes = DataIndexRepository(session)
        first = indexes.create("a")
        assert indexes.delete_some_keys(first) == 0  # it isn't dropped
        indexes.set_state(first, IndexState.DROPPING)
        assert indexes.delete_some_keys(first) == 0
        assert indexes.list() == []
        second = indexes.create("b")
        assert second > first


def test_a_project_s_id_may_be_spelt_in_any_way(engine: Engine, project: ProjectId) -> None:
    with writing(engine) as session:
        for spelled in (project, str(project)):
            filters = Filters(spelled, where=parse_where('sku = "XR-7"'))
            assert ExtractionRepository(session).count(filters) == 1


def test_sorted_lists_begin_with_what_the_index_finds(sqlite_engine: Engine) -> None:
    """Also before SQLite has been told how many rows there are."""
    with writing(sqlite_engine) as session:
        project = make_project(session)
        make_indexes(session, PATHS)
        store(session, [Fact(data) for data in DOCUMENTS[:50]])
        filters = Filters(project, where=parse_where('sku = "XR-7"'))
        ordering = Ordering(parse_order("-created"), "sqlite")
        query = ordering.ids(passing(session, filters, *ordering.columns()), None, 10)
        with statements(sqlite_engine) as sent:
            session.execute(query)
        unbound = (None,) * sent[-1].count("?")
        lines = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {sent[-1]}", unbound)
        told = " ".join(str(line) for line in lines)
    assert "number=? AND key" in told
    assert "created_at" not in told


def test_keys_go_with_their_fact(engine: Engine, project: ProjectId) -> None:
    with writing(engine) as session:
        extractions = ExtractionRepository(session)
        ids = extractions.list_ids(Filters(project, where=parse_where("price.amount < 50")), limit=1_000)
        assert sum(len(page) for page in FactRepository(session).iter_removed(ids)) == 500
        left = session.scalar(text("SELECT count(DISTINCT extraction_id) FROM data_keys"))
        assert left == 500
        assert extractions.count(Filters(project, where=parse_where("price.amount < 50"))) == 0


def test_other_metadata_is_found_at_once(engine: Engine, project: ProjectId) -> None:
    with writing(engine) as session:
        extractions = ExtractionRepository(session)
        ids = extractions.list_ids(Filters(project, where=parse_where("metadata.page = 3")), limit=1_000)
        assert len(ids) == 100
        changed = {id_: Assertion(None, {"page": 77}) for id_ in ids[:10]} | {ids[10]: Assertion(0.5, None)}
        FactRepository(session).assert_batch(changed)
        found = Filters(project, where=parse_where("metadata.page = 77"))
        assert extractions.list_ids(found, limit=100) == ids[:10]
        assert extractions.count(Filters(project, where=parse_where("metadata.page = 3"))) == 89
        assert extractions.count(Filters(project, where=parse_where('sku starts "XR"'))) == 1_000


def test_two_projects_whose_ids_begin_alike_are_kept_apart(engine: Engine) -> None:
    rng = random.Random(1)  # noqa: S311 - drawn alike each time
    with writing(engine) as session:
        make_indexes(session, ["sku"])
        projects = []
        for name in ("a", "b"):
            id_ = uuid.UUID(f"12345678-0000-4000-8000-{rng.randrange(16**12):012x}")
            moment = (
                "2025-01-01 00:00:00+00:00"
                if engine.dialect.name == "postgresql"
                else "2025-01-01 00:00:00.000000"
            )
            session.execute(
                text("INSERT INTO projects (id, name, created_at) VALUES (:id, :name, :at)"),
                {"id": str(id_), "name": name, "at": moment},
            )
            project = ProjectId(id_)
            create_facts(session, [new_extraction(session, project, data={"sku": "X"}, uri=f"file:{name}")])
            projects.append(project)
        for project in projects:
            assert ExtractionRepository(session).count(Filters(project, where=parse_where("sku = X"))) == 1
