"""Conditions in SQL hold for the facts that they hold for in Python, on every dialect."""

import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session
from support import conditions as drawn
from support.conditions import Fact, matches
from support.examples import examples
from support.rows import make_project, new_extraction, statements, store_data, writing

from app.domain.conditions import (
    MAX_DEPTH,
    MAX_TERMS,
    And,
    Compare,
    Condition,
    Contains,
    Exists,
    Field,
    In,
    InData,
    InMetadata,
    Not,
    Op,
    Or,
    Starts,
)
from app.domain.filters import Filters
from app.domain.ids import ExtractionId, RunId
from app.intake.where_text import parse_where
from app.models import Extraction
from app.services.storage.repositories.extraction import ExtractionRepository

pytestmark = pytest.mark.contract


def store(session: Session, facts: Sequence[Fact]) -> list[ExtractionId]:
    """Store each in its own project, because two may have different groups for one source."""
    ids = []
    for number, fact in enumerate(facts):
        runs = [RunId(uuid.UUID(run)) for run in fact.runs]
        extraction = new_extraction(
            session,
            make_project(session, f"project-{number}"),
            uri=fact.source,
            group=fact.group,
            extraction_type=fact.type,
            data=fact.data,
            metadata=fact.metadata,
            confidence=fact.confidence,
            created_at=fact.created,
            first_run_id=runs[0] if runs else None,
            last_run_id=runs[-1] if runs else None,
        )
        ExtractionRepository(session).create_batch([extraction])
        changed = None if fact.changed == fact.created else fact.changed
        values: dict[str, Any] = {
            "changed_at": changed,
            "embedding_id": str(extraction.id) if fact.indexed else None,
        }
        session.execute(update(Extraction).where(Extraction.id == extraction.id).values(**values))
        ids.append(extraction.id)
    return ids


def found_in(engine: Engine, facts: Sequence[Fact], conditions: Sequence[Condition]) -> list[set[int]]:
    """The numbers of the facts that each condition holds for; leaves the database as it was."""
    with writing(engine) as session:
        numbers = {id_: number for number, id_ in enumerate(store(session, facts))}
        repository = ExtractionRepository(session)
        found = []
        for condition in conditions:
            filters = Filters(where=condition)
            ids = repository.list_ids(filters, limit=100)
            assert repository.count(filters) == len(ids)
            assert [row.id for row in repository.list(filters, limit=100)] == ids
            found.append({numbers[each] for each in ids})
        for table in ("extractions", "sources", "projects"):
            session.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of this test
    return found


@pytest.mark.slow
@settings(max_examples=examples(150), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(drawn.cases(), min_size=1, max_size=4))
def test_a_condition_holds_where_it_does_in_python(
    engines: list[Engine], cases: list[tuple[Condition, Fact]]
) -> None:
    conditions, facts = [case[0] for case in cases], [case[1] for case in cases]
    expected = [
        {number for number, fact in enumerate(facts) if matches(condition, fact)} for condition in conditions
    ]
    for engine in engines:
        assert found_in(engine, facts, conditions) == expected


def passing(engine: Engine, documents: list[dict[str, Any]], *conditions: Condition) -> list[set[int]]:
    """The numbers of the documents that each condition holds for."""
    return found_in(engine, [Fact(document) for document in documents], conditions)


FACT = Fact(
    {
        "price": {"amount": 250, "old": [300.5, None]},
        "tags": ["indoor", "dark red"],
        "variants": [{"color": "red", "sizes": [1, 2]}, {"color": "blue"}],
        "nested": [[1]],
        "http.method": "GET",
        "valid_from": "2025-01-31T08:30:00+02:00",
        "gone": None,
        "flag": True,
        "id": 2**63 - 1,
    },
    {"page": 3},
    type="product",
    group="shop",
    source="https://a.example/1",
    confidence=0.9,
    created=datetime(2025, 3, 1, tzinfo=UTC),
    changed=datetime(2025, 4, 1, tzinfo=UTC),
    runs=(drawn.RUNS[0], drawn.RUNS[1]),
    indexed=True,
)

HOLD = """
price.amount >= 100
price.amount = 250.0
price.old > 300
price.old = null
price exists
gone exists
gone = null
tags contains "indoor"
tags contains RED
tags contains "dark red"
tags = "dark red"
tags starts dark
variants.color = red
variants.color in (green, blue)
variants.sizes = 2
variants.sizes contains 2
nested contains 1
"http.method" = "GET"
valid_from < 2025-01-31T06:30:01Z
valid_from = 2025-01-31T06:30
valid_from starts "2025"
flag = true
id = 9223372036854775807
id > 9223372036854775806
metadata.page in (2, 3)
type = product
type contains product
group starts sh
source = "https://a.example/1"
source contains "a.example"
confidence > 0.8
created >= 2025-03-01 and created < 2025-03-02
changed > 2025-03-31
run = 00000000-0000-0000-0000-000000000002
run in (00000000-0000-0000-0000-000000000009, 00000000-0000-0000-0000-000000000001)
run exists
indexed = true
indexed in (false, true)
price.amont != 1
not (tags contains outdoor)
"""

HOLD_NOT = """
price.amount > 250
price.amount = "250"
price.amount starts "2"
price = 250
price.amount != 250
missing = null
missing exists
missing < 5
tags contains "red dark"
tags contains indo
tags = indo
variants = red
nested = 1
gone = false
flag = 1
flag = "true"
valid_from > 2025-02-01
valid_from = 2025-01-31
id < 9223372036854775807
metadata.none exists
type != product
group in (a, b)
confidence <= 0.8
created > 2025-03-01
changed < 2025-04-01
run = 00000000-0000-0000-0000-000000000003
indexed = false
not (price exists)
"""


@pytest.mark.parametrize("written", HOLD.strip().splitlines())
def test_what_holds(engine: Engine, written: str) -> None:
    assert found_in(engine, [FACT], [parse_where(written)]) == [{0}]


@pytest.mark.parametrize("written", HOLD_NOT.strip().splitlines())
def test_what_does_not_hold(engine: Engine, written: str) -> None:
    assert found_in(engine, [FACT], [parse_where(written)]) == [set()]


def test_the_python_that_others_are_measured_by_agrees() -> None:
    for written in HOLD.strip().splitlines():
        assert matches(parse_where(written), FACT), written
    for written in HOLD_NOT.strip().splitlines():
        assert not matches(parse_where(written), FACT), written


def test_an_array_on_the_way_is_looked_into_once(engine: Engine) -> None:
    documents: list[dict[str, Any]] = [
        {"a": [{"b": 1}, {"b": [2]}]},
        {"a": [[{"b": 1}]]},
        {"a": {"b": [[1]]}},
        {"a": [], "b": 1},
    ]
    path = InData(("a", "b"))
    conditions: list[Condition] = [
        Compare(path, Op.EQ, 1),
        Compare(path, Op.EQ, 2),
        Exists(path),
        Contains(path, 1),
        Contains(path, 2),
    ]
    assert passing(engine, documents, *conditions) == [{0}, {0}, {0, 2}, {2}, {0}]


def test_neighbouring_numbers_are_told_apart(engine: Engine) -> None:
    numbers = [
        0.1,
        0.30000000000000004,
        0.3,
        2**53,
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        1e16,
        10**16 + 1,
        1.152921504606847e18,
    ]
    documents = [{"n": number} for number in numbers]
    for op in (Op.EQ, Op.LT, Op.GE):
        conditions = [Compare(InData(("n",)), op, number) for number in numbers]
        expected = [
            {n for n, fact in enumerate(documents) if matches(condition, Fact(fact))}
            for condition in conditions
        ]
        assert passing(engine, documents, *conditions) == expected


@pytest.mark.parametrize(
    "attack",
    [
        "' OR 1=1 --",
        '"] OR 1=1 --',
        "$[*]",
        '") OR 1=1 OR ("',
        "x'); DELETE FROM extractions; --",
        "%(x)s",
        ":id",
        '" ? (@ == 1)',
        ".*",
        "\\",
    ],
)
def test_keys_and_values_are_never_part_of_the_statement(engine: Engine, attack: str) -> None:
    documents: list[dict[str, Any]] = [{"a": 1, "b": "x"}, {attack: attack}]
    conditions: list[Condition] = [
        Compare(InData((attack,)), Op.EQ, attack),
        Compare(InData(("b",)), Op.EQ, attack),
        Compare(InData(("b",)), Op.GE, attack),
        Starts(InData(("b",)), attack),
        Contains(InData(("b",)), attack),
        In(InData((attack, attack)), (attack, 1)),
        Compare(Field("type"), Op.EQ, attack),
        Exists(InMetadata((attack,))),
    ]
    with statements(engine) as sent:
        found = passing(engine, documents, *conditions)
    assert found[0] == {1}
    assert found[1] == found[3] == found[4] == found[5] == found[6] == found[7] == set()
    if attack not in {":id", ".*", "\\"}:
        assert not any(attack in statement for statement in sent)


def _nested(depth: int) -> Condition:
    """Of the leaf that takes most places of a statement, at the end of each join."""
    condition: Condition = Contains(InData(("a", "b", "c", "d")), datetime(2025, 1, 1, tzinfo=UTC))
    parts: dict[int, Callable[[Condition], Condition]] = {
        0: lambda inner: Not(And((condition, inner))),
        1: lambda inner: Or((condition, condition, inner)),
        2: Not,
    }
    found = condition
    while found.size.depth < depth - 1:
        found = parts[found.size.depth % 3](found)
    return Not(found) if found.size.depth < depth else found


LARGE: dict[str, Condition] = {
    "terms": Or(tuple(Compare(InData((f"k{n}",)), Op.EQ, n) for n in range(MAX_TERMS))),
    "values": In(InData(("n",)), tuple(range(MAX_TERMS - 1))),
    "texts": In(InData(("n",)), tuple(f"{n}" * 100 for n in range(MAX_TERMS - 1))),
    "times": In(
        InData(("a", "n")),
        tuple(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(MAX_TERMS - 1)),
    ),
    "values of a field": In(Field("type"), tuple(f"type {n}" for n in range(MAX_TERMS - 1))),
    "depth": _nested(MAX_DEPTH),
    "keys": Compare(InData(("a",) * 64), Op.EQ, 1),
    "keys that SQLite's paths can't say": Compare(InData(('"',) * 64), Op.EQ, 1),
    "a long text": Compare(InData(("a",)), Op.GT, "x" * 10_000),
    "the start of a text": Starts(InData(("a",)), "%_" * 5_000),
    "words": Contains(InData(("a",)), "Straße " * 20),
}


@pytest.mark.parametrize("name", LARGE)
def test_the_largest_conditions_are_answered(engine: Engine, name: str) -> None:
    deep: Any = 1
    for _ in range(64):
        deep = {"a": [deep]}
    quoted: Any = 1
    for _ in range(64):
        quoted = {'"': quoted}
    documents = [deep, quoted, {"n": 5, "k5": 5, "a": {"n": "2025-01-02T03:00:00+01:00"}}]
    expected = [{n for n, fact in enumerate(documents) if matches(LARGE[name], Fact(fact))}]
    assert passing(engine, documents, LARGE[name]) == expected


def test_statements_of_large_conditions_are_not_kept(engine: Engine) -> None:
    """Each is another one, and would take several megabytes for as long as the process runs."""
    with writing(engine) as session:
        repository = ExtractionRepository(session)
        repository.list_ids(Filters(where=parse_where("a = 1")), limit=1)
        kept = len(engine._compiled_cache or ())
        assert kept
        for count in range(20, 30):
            where = Or(tuple(Compare(InData((f"{n}",)), Op.EQ, n) for n in range(count)))
            repository.list_ids(Filters(where=where), limit=1)
        repository.list_ids(Filters(where=Compare(InData(("a",)), Op.EQ, "x" * 5_000)), limit=1)
        assert len(engine._compiled_cache or ()) == kept
        repository.list_ids(Filters(where=parse_where("a = 2")), limit=1)
        assert len(engine._compiled_cache or ()) == kept, "another value, the same statement"
        repository.list_ids(Filters(where=parse_where("a = 2 or b = 3")), limit=1)
        assert len(engine._compiled_cache or ()) == kept + 1


def test_pages_go_by_id_within_the_project(engine: Engine) -> None:
    with writing(engine) as session:
        ids = sorted(store_data(session, [{"n": number % 2} for number in range(10)]))
        repository = ExtractionRepository(session)
        wanted = [row.id for row in repository.get_batch(ids) if row.data["n"] == 1]
        here, elsewhere = make_project(session), make_project(session, "other")
        odd = Filters(here, where=parse_where("n = 1"))
        assert repository.list_ids(odd, limit=3) == wanted[:3]
        assert repository.list_ids(odd, after=wanted[2], limit=3) == wanted[3:]
        assert repository.list_ids(Filters(elsewhere, where=odd.where), limit=3) == []
