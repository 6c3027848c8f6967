"""Filters on JSON data answer as Python does, on every dialect."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session
from support.examples import examples
from support.rows import make_project, statements, store_data, writing

from app.domain.filters import Filters, Path, Scalar, Where
from app.domain.ids import ExtractionId
from app.errors import InvalidInput
from app.models import Extraction
from app.services.storage.repositories.data_filter import MAX_KEYS, MAX_KEYS_TOGETHER, matches
from app.services.storage.repositories.extraction import ExtractionRepository

pytestmark = pytest.mark.contract

MISSING = object()

# What PostgreSQL keeps: no NUL, and nothing that isn't valid Unicode.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
TRICKY = st.sampled_from(
    [
        "",
        ".",
        "a.b",
        '"',
        '\\"',
        "\\",
        "'",
        "$",
        "$.a",
        "[0]",
        "0",
        "#-1",
        "*",
        "a",
        "é",
        "e\u0301",
        "\u212b",
        "\n",
        "\x1f",
        "\u2028",
        "%s",
        ":x",
        "?",
    ]
)
KEYS = TRICKY | TEXTS
INTEGERS = st.integers(-(2**63), 2**63 - 1)
NEAR_LIMITS = st.sampled_from([2**53, 2**53 + 1, -(2**53) - 1, 2**62 + 1024, 2**63 - 1, -(2**63), 0, 1])
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = (
    INTEGERS
    | NEAR_LIMITS
    | FLOATS
    | NEAR_LIMITS.map(float)
    | st.sampled_from([-0.0, 1e16, 4.611686018427389e18])
)
SCALARS = st.none() | st.booleans() | NUMBERS | KEYS | st.sampled_from(["null", "true", "1", "{}"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


def leaf(data: Any, keys: tuple[str, ...]) -> Any:
    """What stands at the path; ``MISSING`` if nothing does, or an array is in the way."""
    for key in keys:
        if not isinstance(data, dict) or key not in data:
            return MISSING
        data = data[key]
    return data


def json_equal(found: Any, wanted: Scalar) -> bool:
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if found is MISSING or isinstance(found, dict | list):
        return False
    return bool(found == wanted)


def paths(data: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in data.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in paths(value))


def matching(session: Session, where: Where) -> set[ExtractionId]:
    """By the condition alone: filters would put its texts into another form than these documents have."""
    dialect = session.get_bind().dialect.name
    return set(session.scalars(select(Extraction.id).where(matches(where, dialect))))


def found_in(engine: Engine, documents: list[dict[str, Any]], wheres: list[Where]) -> list[set[int]]:
    """The indexes of the documents that each filter finds; leaves the database as it was."""
    with writing(engine) as session:
        index = {id_: number for number, id_ in enumerate(store_data(session, documents))}
        found = [{index[each] for each in matching(session, where)} for where in wheres]
        session.execute(text("DELETE FROM extractions"))
    return found


@pytest.mark.slow
@settings(max_examples=examples(60))
@given(data=st.data(), documents=st.lists(DOCUMENTS, min_size=1, max_size=6))
def test_filters_answer_as_python_does(
    engines: list[Engine], data: st.DataObject, documents: list[dict[str, Any]]
) -> None:
    known = sorted({path for document in documents for path in paths(document)})
    path = st.tuples(KEYS) | st.tuples(KEYS, KEYS)
    probes: list[tuple[tuple[str, ...], Scalar]] = [
        (keys, value)
        for document in documents
        for keys in paths(document)
        if not isinstance(value := leaf(document, keys), dict | list)
    ]
    probes += data.draw(
        st.lists(st.tuples(st.sampled_from(known) | path if known else path, SCALARS), max_size=4)
    )
    wheres: list[Where] = [{keys: value} for keys, value in probes]
    wheres += [dict(probes[start : start + 2]) for start in range(0, len(probes) - 1, 2)]
    expected = [
        {number for number, document in enumerate(documents) if passes(document, where)} for where in wheres
    ]
    for engine in engines:
        assert found_in(engine, documents, wheres) == expected


def passes(document: dict[str, Any], where: Where) -> bool:
    return all(json_equal(leaf(document, tuple(keys)), value) for keys, value in where.items())


@pytest.mark.slow
@settings(max_examples=examples(50))
@given(numbers=st.lists(FLOATS, min_size=1, max_size=8))
def test_neighbouring_floats_are_told_apart(engines: list[Engine], numbers: list[float]) -> None:
    around = {
        near for each in numbers for near in (each, math.nextafter(each, 2e308), math.nextafter(each, -2e308))
    }
    values = [each for each in around if math.isfinite(each)]
    wheres: list[Where] = [{"x": each} for each in values]
    for engine in engines:
        assert found_in(engine, [{"x": each} for each in values], wheres) == [{n} for n in range(len(values))]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({}, {0, 1, 2, 3, 4, 5, 6}),
        ({"n": 1}, {0, 1}),
        ({"n": 1.0}, {0, 1}),
        ({"n": True}, {2}),
        ({"n": "1"}, {3}),
        ({"n": None}, {4}),
        ({"n": 0}, set()),
        ({"m.lang": "de"}, {5}),
        ({("m", "lang"): "de"}, {5}),
        ({("m.lang",): "de"}, {6}),
        ({"list.0": 1}, set()),
        ({"list": 1}, set()),
        ({"m": "de"}, set()),
        ({"n": 1, "list": None}, set()),
        ({"n": 1, "only": None}, {1}),
    ],
)
def test_json_equality(engine: Engine, where: Where, expected: set[int]) -> None:
    documents: list[dict[str, Any]] = [
        {"n": 1, "list": [1]},
        {"n": 1.0, "only": None},
        {"n": True},
        {"n": "1"},
        {"n": None},
        {"m": {"lang": "de"}},
        {"m.lang": "de"},
    ]
    assert found_in(engine, documents, [where]) == [expected]


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
    ],
)
def test_paths_and_values_are_never_part_of_the_statement(engine: Engine, attack: str) -> None:
    with writing(engine) as session, statements(engine) as sent:
        ids = store_data(session, [{"a": 1}, {attack: attack}])
        sent.clear()
        repository = ExtractionRepository(session)
        wheres: list[dict[tuple[str, ...], Scalar]] = [
            {(attack,): attack},
            {("a",): attack},
            {("a", attack): 1},
        ]
        assert [repository.keep_passing(ids, Filters(where=where)) for where in wheres] == [
            {ids[1]},
            set(),
            set(),
        ]
        assert len(sent) == 3
    assert not any(attack in statement for statement in sent if attack != ":id")


@pytest.mark.parametrize(
    "where",
    [
        {(): 1},
        {("a\0",): 1},
        {("\ud800",): 1},
        {"a": "\ud800"},
        {"a": math.nan},
        {"a": math.inf},
        {"a": 2**63},
        {"a": -(2**63) - 1},
        {"a": [1]},
        {"a": {}},
        {"a": b"x"},
        {"." * MAX_KEYS: 1},
        {('"',) * (MAX_KEYS + 1): 1},
        {"." * 500_000: 1},
        {(f"{number}",) * 50: 1 for number in range(MAX_KEYS_TOGETHER // 50 + 1)},
    ],
    ids=lambda where: f"{where!r:.20}",
)
def test_what_no_data_can_hold_is_refused(engine: Engine, where: Mapping[Path, Any]) -> None:
    with writing(engine) as session, pytest.raises(InvalidInput, match="data filter"):
        ExtractionRepository(session).list_ids(Filters(where=where), limit=1)


def test_as_many_keys_as_there_may_be(engine: Engine) -> None:
    data: dict[str, Any] = {"": 1}
    for _ in range(MAX_KEYS - 1):
        data = {'"': data}
    keys = ('"',) * (MAX_KEYS - 1)
    with writing(engine) as session:
        [stored] = store_data(session, [data])
        repository = ExtractionRepository(session)
        assert repository.list_ids(Filters(where={(*keys, ""): 1}), limit=2) == [stored]
        paths = {(*keys[:48], f"{number}", ""): 1 for number in range(MAX_KEYS_TOGETHER // 50)}
        assert repository.list_ids(Filters(where=paths), limit=2) == []


def test_statements_of_large_filters_are_not_kept(engine: Engine) -> None:
    """Each is another one, and would take several megabytes for as long as the process runs."""
    with writing(engine) as session:
        repository = ExtractionRepository(session)
        repository.list_ids(Filters(where={"a": 1}), limit=1)
        kept = len(engine._compiled_cache or ())
        assert kept
        for count in range(10, 20):
            repository.list_ids(Filters(where={f"{number}": number for number in range(count)}), limit=1)
        repository.list_ids(Filters(where={"a": "x" * 2_000, "b": None}), limit=1)
        assert len(engine._compiled_cache or ()) == kept
        repository.list_ids(Filters(where={"a": 1, "b": 2}), limit=1)
        assert len(engine._compiled_cache or ()) == kept + 1


def test_the_ids_that_match_go_by_project_and_page(engine: Engine) -> None:
    with writing(engine) as session:
        ids = sorted(store_data(session, [{"n": number % 2} for number in range(10)]))
        repository = ExtractionRepository(session)
        wanted = [row.id for row in repository.get_batch(ids) if row.data["n"] == 1]
        here, elsewhere = make_project(session), make_project(session, "other")
        matching = Filters(where={"n": 1})
        assert repository.list_ids(matching, limit=10) == wanted
        matching = replace(matching, project_id=here)
        assert repository.list_ids(matching, limit=3) == wanted[:3]
        assert repository.list_ids(matching, after=wanted[2], limit=3) == wanted[3:]
        assert repository.list_ids(replace(matching, project_id=elsewhere), limit=3) == []
        assert [row.id for row in repository.filter_by_data(here, {"n": 1}, limit=4)] == wanted[:4]
