"""Lists in order: as Python sorts, page by page, on every dialect."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, text, update
from sqlalchemy.orm import Session
from support import conditions as drawn
from support.examples import examples
from support.rows import make_project, new_extraction, writing

from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.domain.ordering import MOST_SORTED, RANKS, Order, place_of, read_place
from app.domain.rows import ExtractionRow
from app.errors import InvalidField
from app.intake.where_text import parse_order, write_order
from app.models import Extraction
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.filtering import passing
from app.services.storage.repositories.ordering import Ordering

pytestmark = pytest.mark.contract

START = datetime(2025, 1, 1, tzinfo=UTC)
ABSENT: Any = object()


def store(session: Session, values: Sequence[Any]) -> list[ExtractionId]:
    """Store an extraction for each value of ``n``, a minute apart; the first changed last."""
    template = new_extraction(session, make_project(session))
    rows = []
    for number, value in enumerate(values):
        is_number = isinstance(value, float) and 0 <= value <= 1
        rows.append(
            template._replace(
                id=ExtractionId(uuid.uuid4()),
                data={"a": {} if value is ABSENT else {"n": value}},
                created_at=START + timedelta(minutes=number),
                confidence=value if is_number else None,
            )
        )
    ExtractionRepository(session).create_batch([row._replace(confidence=row.confidence) for row in rows])
    changed = START + timedelta(days=1)
    session.execute(update(Extraction).where(Extraction.id == rows[0].id).values(changed_at=changed))
    return [row.id for row in rows]


def listed(session: Session, order: Order, *, limit: int) -> list[ExtractionRow]:
    """All, page by page."""
    repository, after, found = ExtractionRepository(session), None, list[ExtractionRow]()
    while True:
        page, _ = repository.list_sorted(order, 10**9, Filters(), after=after, limit=limit)
        found += page
        if len(page) < limit:
            return found
        after = place_of(order, page[-1])
        assert read_place(order, after.kind, after.value, str(after.id)) == after


def order_of(value: Any) -> tuple[int, Any]:
    """Where a value stands among all."""
    match value:
        case bool():
            return RANKS[str(value).lower()], 0
        case int() | float():
            return RANKS["number"], value
        case str():
            return RANKS["text"], value[:MOST_SORTED]
    return len(RANKS), 0


def expected(values: Sequence[Any], ids: Sequence[ExtractionId], *, descending: bool) -> list[ExtractionId]:
    def compared(one: tuple[Any, ExtractionId], other: tuple[Any, ExtractionId]) -> int:
        (rank, value), (rank2, value2) = order_of(one[0]), order_of(other[0])
        absent = (rank == len(RANKS)) - (rank2 == len(RANKS))
        if absent:
            return absent
        here, there = (rank, value, one[1]), (rank2, value2, other[1])
        return ((here > there) - (here < there)) * (-1 if descending else 1)

    return [id_ for _, id_ in sorted(zip(values, ids, strict=True), key=cmp_to_key(compared))]


@pytest.mark.slow
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(drawn.scalars | st.just(ABSENT) | st.just([1]), min_size=1, max_size=8),
    st.booleans(),
    st.integers(1, 4),
)
def test_a_path_sorts_as_python_does(
    engines: list[Engine], values: list[Any], descending: bool, limit: int
) -> None:
    order = parse_order("-a.n" if descending else "a.n")
    for engine in engines:
        with writing(engine) as session:
            ids = store(session, values)
            found = [row.id for row in listed(session, order, limit=limit)]
            session.execute(text("DELETE FROM extractions"))
        assert found == expected(values, ids, descending=descending)


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_by_the_fields_of_a_fact(engine: Engine, limit: int) -> None:
    with writing(engine) as session:
        ids = store(session, [0.5, "text", 0.25, 0.5, None])
        assert [row.id for row in listed(session, parse_order("created"), limit=limit)] == ids
        assert [row.id for row in listed(session, parse_order("-created"), limit=limit)] == ids[::-1]
        assert [row.id for row in listed(session, parse_order("changed"), limit=limit)] == [*ids[1:], ids[0]]
        up = [row.confidence for row in listed(session, parse_order("confidence"), limit=limit)]
        down = [row.confidence for row in listed(session, parse_order("-confidence"), limit=limit)]
        assert (up, down) == ([0.25, 0.5, 0.5, None, None], [0.5, 0.5, 0.25, None, None])


def test_a_place_holds_while_facts_come_and_go(engine: Engine) -> None:
    """Also where the fact that named it is gone."""
    order = parse_order("a.n")
    with writing(engine) as session:
        ids = store(session, list(range(6)))
        repository = ExtractionRepository(session)
        page, _ = repository.list_sorted(order, 10**9, limit=3)
        place = place_of(order, page[-1])
        session.execute(delete(Extraction).where(Extraction.id.in_([ids[2], ids[4]])))
        store(session, [0, 9])
        following, _ = repository.list_sorted(order, 10**9, after=place, limit=9)
        assert [row.data["a"]["n"] for row in following] == [3, 5, 9]


def test_long_texts_go_by_their_beginning(engine: Engine) -> None:
    values = ["x" * 250 + end for end in "ba"]
    with writing(engine) as session:
        ids = store(session, values)
        assert [row.id for row in listed(session, parse_order("a.n"), limit=1)] == sorted(ids)


@pytest.mark.parametrize("written", ["type", "-run", "indexed", "", "-", "a[", '"a\\"b"', "data"])
def test_what_facts_are_not_sorted_by_is_refused(written: str) -> None:
    with pytest.raises(InvalidField, match="sort"):
        parse_order(written)


@pytest.mark.parametrize("written", ["created", "-changed", "confidence", '-price."a b"', "metadata.page"])
def test_an_order_is_written_as_it_is_read(written: str) -> None:
    assert write_order(parse_order(written)) == written


@pytest.mark.parametrize(
    ("order", "kind", "value"),
    [
        ("created", "time", "x"),
        ("created", "time", "2025-01-01T00:00:00"),
        ("created", "number", "1"),
        ("confidence", "text", "x"),
        ("n", "time", "2025-01-01T00:00:00+00:00"),
        ("n", "other", ""),
        ("n", "true", "x"),
        ("n", "number", "x"),
        ("n", "number", "inf"),
        ("n", "number", "nan"),
        ("n", "number", "1e999"),
        ("n", "number", "1E5"),
        ("n", "number", "1_0"),
        ("n", "number", "9" * 5_000),
        ("n", "number", str(2**63)),
        ("n", "text", "a\0b"),
        ("n", "text", "\ud800"),
        ("n", "text", "x" * 201),
    ],
)
def test_a_place_that_is_none_is_refused(order: str, kind: str, value: str) -> None:
    with pytest.raises((InvalidField, ValueError), match=r"\S"):
        read_place(parse_order(order), kind, value, str(uuid.UUID(int=1)))
    with pytest.raises(ValueError, match=r"\S"):
        read_place(parse_order("n"), "absent", "", "no id")


def test_newest_first_needs_no_sorting(engine: Engine) -> None:
    with writing(engine) as session:
        project = make_project(session)
        ordering = Ordering(parse_order("-created"), engine.dialect.name)
        chosen = passing(session, Filters(project), *ordering.columns())
        query = ordering.ids(chosen, None, 10)
        explain = "EXPLAIN QUERY PLAN " if engine.dialect.name == "sqlite" else "EXPLAIN "
        compiled = query.compile(engine, compile_kwargs={"literal_binds": True})
        if engine.dialect.name == "postgresql":
            session.execute(text("SET LOCAL enable_seqscan = off"))
            session.execute(text("SET LOCAL enable_bitmapscan = off"))
        lines = " ".join(str(row) for row in session.connection().exec_driver_sql(f"{explain}{compiled}"))
    assert "created_at_id" in lines
    assert "TEMP B-TREE" not in lines
    assert "Sort" not in lines
