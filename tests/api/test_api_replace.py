"""Saying over HTTP what sources hold now."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from support.api import Api, checked, problem_of, serving

from app.api.bodies import NDJSON
from app.models import LedgerEntry, Run

PATH = "/v1/projects/papers/extractions"


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


@pytest.fixture(params=[False, True], ids=["json", "ndjson"])
def lines(request: pytest.FixtureRequest) -> bool:
    given: bool = request.param
    return given


def fact(source: str, text: str, **changes: Any) -> dict[str, Any]:
    return {"source_uri": source, "extraction_type": "fact", "data": {"fact_text": text}} | changes


def gone(source: str) -> dict[str, Any]:
    return {"source_uri": source, "gone": True}


def totals(answer: dict[str, Any]) -> tuple[int, int, int, int]:
    return answer["added"], answer["changed"], answer["unchanged"], answer["removed"]


async def texts(api: Api) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for item in (await api.get(PATH, limit=1_000))["items"]:
        found.setdefault(item["source"]["uri"], set()).add(item["data"]["fact_text"])
    return found


def count(engine: Engine, table: type[Any]) -> int:
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


FIRST = [fact("a", "35 euro"), fact("a", "open", confidence=0.5), fact("a", "red"), fact("b", "old")]


async def test_the_store_follows_its_sources(api: Api, lines: bool) -> None:
    await api.replaced(FIRST, lines=lines)
    now = [fact("a", "36 euro"), fact("a", "open", confidence=0.9), fact("a", "red"), gone("b")]
    answer = await api.replaced(now, lines=lines)
    assert totals(answer) == (1, 1, 1, 2)
    by_uri = {each["uri"]: (*totals(each), each["gone"]) for each in answer["sources"]}
    assert by_uri == {"a": (1, 1, 1, 1, False), "b": (0, 0, 0, 1, True)}
    assert await texts(api) == {"a": {"36 euro", "open", "red"}}
    await api.work()
    found = await api.post("/v1/projects/papers/search", {"query": "35 euro"})
    assert {hit["extraction"]["data"]["fact_text"] for hit in found["items"]} == {"36 euro", "open", "red"}
    confident = await api.post("/v1/projects/papers/search", {"query": "open", "min_confidence": 0.8})
    assert [hit["extraction"]["data"]["fact_text"] for hit in confident["items"]] == ["open"]


async def test_what_was_not_named_goes_with_the_project(api: Api, lines: bool) -> None:
    await api.replaced(FIRST, lines=lines)
    answer = await api.replaced(FIRST[:3], lines=lines, replace="project")
    assert totals(answer) == (0, 0, 3, 1)
    assert [each["uri"] for each in answer["sources"] if each["gone"]] == ["b"]
    assert set(await texts(api)) == {"a"}


async def test_a_dry_run_says_the_same_and_writes_nothing(api: Api, engine: Engine, lines: bool) -> None:
    await api.replaced(FIRST, lines=lines)
    before = await texts(api), count(engine, LedgerEntry), count(engine, Run)
    now = [fact("a", "36 euro"), fact("c", "new")]
    options: dict[str, Any] = {"lines": lines, "replace": "project", "run": "nightly"}
    tried = await api.replaced(now, status=200, dry_run=True, **options)
    assert (tried["dry_run"], tried["jobs"], tried["run_id"]) == (True, [], None)
    assert (await texts(api), count(engine, LedgerEntry), count(engine, Run)) == before
    done = await api.replaced(now, **options)
    assert totals(done) == totals(tried)
    assert done["sources"] == [{**each, "facts": None} for each in tried["sources"]]
    listed = {
        (each["uri"], one["kind"], one["data"]["fact_text"])
        for each in tried["sources"]
        for one in each["facts"]
    }
    assert {("a", "added", "36 euro"), ("c", "added", "new")} <= listed
    assert sum(kind == "removed" for _, kind, _ in listed) == tried["removed"]


async def test_metadata_follows_what_is_handed_in(api: Api) -> None:
    await api.accepted([fact("a", "x", metadata={"page": 1, "model": "m"})])
    [item] = (await api.get(PATH))["items"]
    assert item["metadata"] == {"page": 1, "model": "m"}
    again = await api.accepted([fact("a", "x", metadata={"page": 2})])
    assert (again["new"], again["changed"]) == (0, 1)
    assert (await api.accepted([fact("a", "x")]))["changed"] == 0, "what is left out stays"
    assert totals(await api.replaced([fact("a", "x")])) == (0, 1, 0, 0), "of a replace, it goes"
    assert (await api.get(PATH))["items"][0]["metadata"] is None


async def test_a_run_is_begun_and_ended_by_its_request(api: Api, engine: Engine, lines: bool) -> None:
    answer = await api.replaced(FIRST, lines=lines, run="nightly")
    with Session(engine) as session:
        run = session.get_one(Run, answer["run_id"])
        assert (run.name, run.added, run.ended_at is not None) == ("nightly", 4, True)
    refused = await api.hand_in([fact("a", "y")], params={"run": answer["run_id"]})
    problem_of(refused, 409, "run-ended")
    runs = {item["last_run_id"] for item in (await api.get(PATH))["items"]}
    assert runs == {answer["run_id"]}


async def test_the_same_key_gets_the_same_answer(api: Api, lines: bool) -> None:
    key: dict[str, Any] = {"lines": lines, "idempotency_key": "k", "run": "nightly", "replace": "project"}
    first = await api.replaced(FIRST, **key)
    await api.accepted([fact("b", "later")])
    assert await api.replaced(FIRST, **key) == first
    assert "later" in (await texts(api))["b"]
    other = await api.hand_in(FIRST[:1], lines=lines, params={"replace": "source"}, idempotency_key="k")
    problem_of(other, 422, "idempotency-key-reused")


async def test_an_old_observation_replaces_nothing(api: Api, lines: bool) -> None:
    await api.replaced([fact("a", "new")], observed_at="2026-01-02T00:00:00Z", lines=lines)
    late: dict[str, Any] = {"replace": "source", "observed_at": "2026-01-01T23:00:00-01:00"}
    assert totals(await api.replaced([fact("a", "new")], lines=lines, **late)) == (0, 0, 1, 0), (
        "the same moment"
    )
    late["observed_at"] = "2026-01-01T23:59:59Z"
    told = problem_of(await api.hand_in([fact("a", "old")], lines=lines, params=late), 409, "stale-replace")
    assert "2026-01-02T00:00:00" in told["detail"]
    assert "2026-01-01T23:59:59" in told["detail"]
    item = fact("a", "old", observed_at="2026-01-01T00:00:00Z")
    problem_of(await api.hand_in([item], lines=lines, params={"replace": "source"}), 409, "stale-replace")
    assert await texts(api) == {"a": {"new"}}


async def test_removing_most_facts_must_be_meant(api: Api, lines: bool) -> None:
    many = [fact("a", f"fact {number}") for number in range(42)]
    await api.replaced(many, lines=lines)
    told = await api.hand_in(many[:20], lines=lines, params={"replace": "source"})
    assert "22 of the 42 facts of source 'a'" in problem_of(told, 409, "mass-delete")["detail"]
    assert totals(await api.replaced(many[:21], lines=lines, dry_run=True, status=200)) == (0, 0, 21, 21)
    rest = await api.hand_in([fact("b", "x")], lines=lines, params={"replace": "project"})
    problem_of(rest, 409, "mass-delete")
    left = await texts(api)
    assert (list(left), len(left["a"])) == (["a"], 42), "a refusal changes nothing"
    assert totals(await api.replaced([gone("a")], lines=lines)) == (0, 0, 0, 42)
    await api.replaced(many, lines=lines)
    assert totals(await api.replaced(many[:1], lines=lines, allow_mass_delete=True)) == (0, 0, 1, 41)


BAD: list[tuple[list[Any], dict[str, Any]]] = [
    ([fact("a", "1"), fact("b", "2"), fact("a", "3")], {"line": 3, "first_line": 1}),
    ([fact("b", "2"), {**gone("a"), "data": {}}], {"line": 2, "field": "data"}),
    ([gone("a"), fact("a", "1")], {"line": 2, "field": "gone"}),
    ([fact("a", "1"), gone("a")], {"line": 2, "field": "gone"}),
    ([{**gone("a"), "gone": False}], {"line": 1, "field": "gone"}),
    ([{"gone": True}], {"line": 1, "field": "source_uri"}),
    ([fact("b", "1"), fact("a", "1", observed_at="2026-01-01T00:00:00")], {"line": 2, "field": "observed_at"}),
    ([fact("a", "1", observed_at="yesterday")], {"line": 1, "field": "observed_at"}),
    ([fact("a", "1", observed_at="2999-01-01T00:00:00Z")], {"line": 1, "field": "observed_at"}),
    ([fact("a", "1"), fact("a", "2", observed_at="2026-01-01T00:00:00Z")], {"line": 2, "field": "observed_at"}),
    ([fact("b", "1"), fact("a", "1", metadata={"x": "y" * 70_000})], {"line": 2, "field": "metadata"}),
    ([fact("b", "1"), fact("a", "1", metadata=[])], {"line": 2, "field": "metadata"}),
    ([fact("b", "1"), {"source_uri": "a"}], {"line": 2}),
    ([fact("b", "1"), 7], {"line": 2}),
]


@pytest.mark.parametrize(("items", "place"), BAD)
async def test_what_cannot_be_accepted_changes_nothing(
    api: Api, lines: bool, items: list[Any], place: dict[str, Any]
) -> None:
    await api.replaced([fact("a", "kept"), fact("b", "kept")])
    response = await api.hand_in(items, lines=lines, params={"replace": "project", "allow_mass_delete": True})
    told = problem_of(response, 422, "invalid-input")
    assert {name: told.get(name) for name in place} == place
    assert await texts(api) == {"a": {"kept"}, "b": {"kept"}}


@pytest.mark.parametrize(
    "params",
    [
        {"replace": "all"},
        {"dry_run": True},
        {"observed_at": "2026-01-01T00:00:00Z"},
        {"allow_mass_delete": True},
        {"replace": "source", "observed_at": "2026-01-01T00:00:00"},
    ],
)
async def test_parameters_that_mean_nothing_are_refused(api: Api, lines: bool, params: dict[str, Any]) -> None:
    problem_of(await api.hand_in([fact("a", "x")], lines=lines, params=params), 422, "invalid-input")
    assert (await api.client.get("/v1/projects/papers")).status_code == 404


@pytest.mark.parametrize("item", [fact("a", "x", observed_at="2026-01-01T00:00:00Z"), gone("a")])
async def test_a_plain_ingest_takes_no_line_of_a_replace(api: Api, lines: bool, item: dict[str, Any]) -> None:
    problem_of(await api.hand_in([item], lines=lines), 422, "invalid-input")


async def test_a_run_must_be_the_projects(api: Api, lines: bool) -> None:
    other = await api.replaced([fact("a", "x")], project="other", run="theirs")
    for run in (other["run_id"], "00000000-0000-0000-0000-000000000000"):
        params = {"replace": "source", "run": run}
        problem_of(await api.hand_in([fact("a", "x")], lines=lines, params=params), 404, "not-found")


async def test_a_stream_that_breaks_leaves_each_source_old_or_new(api: Api) -> None:
    old = [fact(f"s{number}", f"old {fact_of}") for number in range(40) for fact_of in range(5)]
    new = [fact(f"s{number}", f"new {fact_of}") for number in range(40) for fact_of in range(5)]
    await api.replaced(old, lines=True)
    params = {"replace": "project", "allow_mass_delete": True}
    told = problem_of(
        await api.hand_in([*new[:-3], {"source_uri": "s39"}], lines=True, params=params), 422, "invalid-input"
    )
    assert told["line"] == 198
    found = await texts(api)
    assert all(len(each) == 5 and len({text.split()[0] for text in each}) == 1 for each in found.values())
    assert sum("new 0" in each for each in found.values()) == told["replaced_sources"] > 0
    assert "old 0" in found["s39"]


async def test_only_facts_of_these_sources(api: Api) -> None:
    await api.replaced(FIRST)
    await api.work()
    [item] = (await api.get(PATH, source_uris="b"))["items"]
    assert item["data"]["fact_text"] == "old"
    query = {"query": "35 euro", "source_uris": ["b", "nowhere"]}
    assert [
        hit["extraction"]["id"] for hit in (await api.post("/v1/projects/papers/search", query))["items"]
    ] == [item["id"]]
    deleting = {"filters": {"source_uris": ["b"]}}
    assert (await api.post(f"{PATH}/delete", deleting, status=202))["deleted"] == 1
    assert set(await texts(api)) == {"a"}


async def test_blank_lines_count(api: Api) -> None:
    body = b'\n\n{"source_uri": "a"}\n'
    response = await api.client.post(
        PATH, content=body, params={"replace": "source"}, headers={"content-type": NDJSON}
    )
    assert problem_of(response, 422, "invalid-input")["line"] == 3
    response = await api.client.post(
        PATH, content=b"\n", params={"replace": "project"}, headers={"content-type": NDJSON}
    )
    problem_of(response, 422, "invalid-input")
    checked(await api.client.get("/v1/projects"), 200)
