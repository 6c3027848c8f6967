"""Counts by fields, descriptions of projects, and warnings of paths that no fact has."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine
from support.api import Api, raw_item, serving

from app.domain.cursors import write_cursor
from app.intake.where_parser import OPERATORS

PATH = "/v1/projects/papers/extractions"
FACETS, DESCRIBE = "/v1/projects/papers/facets", "/v1/projects/papers/describe"
pytestmark = pytest.mark.contract


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        await api.accepted([raw_item(number) for number in range(10)])
        yield api


async def test_facts_are_counted_by_fields_and_paths(api: Api) -> None:
    where = {"path": "n", "op": "<", "value": 8}
    found = await api.post(FACETS, {"by": ["type", "n"], "where": where, "limit": 3})
    assert (found["count"], found["warnings"]) == (8, [])
    by_type, by_number = found["facets"]
    assert {each["value"]: each["count"] for each in by_type["values"]} == {"fact": 4, "claim": 4}
    assert by_number["values"] == [{"value": number, "count": 1} for number in range(3)]
    assert (by_number["rest_values"], by_number["rest"], by_number["missing"]) == (5, 5, 0)
    assert by_number["numbers"]["deciles"] == [0, 1, 2, 3, 3, 4, 5, 6, 7]


async def test_a_project_is_described(api: Api) -> None:
    found = await api.get(DESCRIBE)
    assert (found["sampled"], found["whole"]) == (10, True)
    paths = {field["path"]: field for field in found["types"][0]["fields"]}
    assert paths["n"]["kinds"] == {"number": 5}
    assert (await api.get(DESCRIBE, sample=3))["whole"] is False


@pytest.mark.parametrize(
    "body",
    [{}, {"by": []}, {"by": ["type"] * 11}, {"by": ["a["]}, {"by": ["type"], "limit": 0}, {"by": "type"}],
)
async def test_what_facts_are_not_counted_by_is_refused(api: Api, body: object) -> None:
    assert (await api.client.post(FACETS, json=body)).status_code == 422


async def test_an_unknown_project_is_not_found(api: Api) -> None:
    assert (await api.client.get("/v1/projects/none/describe")).status_code == 404
    assert (await api.client.post("/v1/projects/none/facets", json={"by": ["type"]})).status_code == 404


async def test_a_path_that_no_fact_has_is_told_in_each_answer(api: Api) -> None:
    told = ["no fact has fact_txt; did you mean fact_text?"]
    text, body = "fact_txt = x", {"path": "fact_txt", "op": "=", "value": "x"}
    assert (await api.get(PATH, where=text))["warnings"] == told
    assert (await api.get(f"{PATH}/count", where=text)) == {"count": 0, "warnings": told}
    assert (await api.post("/v1/projects/papers/search", {"query": "x", "where": body}))["warnings"] == told
    assert (await api.post(FACETS, {"by": ["type"], "where": body}))["warnings"] == told
    deleted = await api.post(f"{PATH}/delete", {"filters": {"where": body}}, 202)
    assert (deleted["deleted"], deleted["warnings"]) == (0, told)
    assert (await api.get(PATH, where="n = 1"))["warnings"] == []


async def test_a_dry_run_says_how_many_would_be_deleted(api: Api) -> None:
    by_filter = {"filters": {"where": {"path": "n", "op": ">=", "value": 7}}}
    [first, *_] = (await api.get(PATH))["items"]
    for body, count in ((by_filter, 3), ({"ids": [first["id"]]}, 1), ({"all": True}, 10)):
        answer = await api.client.post(f"{PATH}/delete", params={"dry_run": "true"}, json=body)
        told = answer.json()
        assert (answer.status_code, told["deleted"], told["dry_run"], told["jobs"]) == (200, count, True, [])
    assert (await api.get(f"{PATH}/count"))["count"] == 10


async def test_a_list_is_sorted_and_its_cursor_is_of_that_order(api: Api) -> None:
    async def numbers(**params: str) -> list[int]:
        found, page = list[int](), await api.get(PATH, limit=3, **params)
        while page["next_cursor"] is not None:
            found += [row["data"]["n"] for row in page["items"]]
            page = await api.get(PATH, limit=3, cursor=page["next_cursor"], **params)
        return found + [row["data"]["n"] for row in page["items"]]

    assert await numbers(sort="n") == list(range(10))
    assert await numbers(sort="-n") == list(range(9, -1, -1))
    assert sorted(await numbers(sort="-created", where="n < 5")) == list(range(5))
    assert len(await numbers(sort="changed")) == len(await numbers()) == 10
    cursor = (await api.get(PATH, limit=3, sort="n"))["next_cursor"]
    for params in (
        {"cursor": cursor, "sort": "-n"},
        {"cursor": cursor},
        {"sort": "type"},
        {"sort": "a["},
        {"sort": ""},
    ):
        assert (await api.client.get(PATH, params=params)).status_code == 422, params
    for place in (
        ["papers", "n", "number", "x", cursor],
        ["papers", "n", "x", "1", str(UUID(int=1))],
        ["papers", "n"],
    ):
        params = {"sort": "n", "cursor": write_cursor(*place)}
        assert (await api.client.get(PATH, params=params)).status_code == 422, place


async def test_when_a_fact_changed_is_shown_and_filtered_by(api: Api) -> None:
    assert all(row["changed_at"] is None for row in (await api.get(PATH))["items"])
    await api.accepted([raw_item(3, confidence=0.123)])
    [row] = (await api.get(PATH, where="confidence = 0.123"))["items"]
    assert row["changed_at"] > row["created_at"]
    [first, *_] = (await api.get(PATH, sort="-changed"))["items"]
    assert first["id"] == row["id"]
    assert len((await api.get(PATH, where=f"changed >= {row['changed_at']}"))["items"]) == 1


async def test_the_schema_of_a_condition_has_every_operator(api: Api) -> None:
    schemas = (await api.client.get("/openapi.json")).json()["components"]["schemas"]
    told = schemas["Condition"]["properties"]["op"]["anyOf"][0]["enum"]
    assert set(told) == set(OPERATORS)
    for example in schemas["Condition"]["examples"]:
        assert (await api.client.post(FACETS, json={"by": ["type"], "where": example})).status_code == 200


async def test_an_order_and_labels_that_no_fact_has_are_told(api: Api) -> None:
    told = ["no fact has nn; did you mean n?"]
    assert (await api.get(PATH, sort="-nn"))["warnings"] == told
    assert (await api.get(PATH, sort="n"))["warnings"] == []
    [warning] = (await api.get(PATH, extraction_types="unknown"))["warnings"]
    assert warning.startswith('no fact has the type "unknown"')
    search = {"query": "x", "source_groups": ["unknown"]}
    [warning] = (await api.post("/v1/projects/papers/search", search))["warnings"]
    assert warning.startswith('no fact has the group "unknown"')
