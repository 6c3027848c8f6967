"""Searching over HTTP: by meaning, by words and by both, in a project and in all."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete
from support.api import Api, problem_of, raw_item, serving

from app.models import ExtractionWords

PATH = "/v1/projects/papers/search"
EVERYWHERE = "/v1/search"
TEXT = "😀 the part XR-4471-B is in stock"


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


def part(uri: str = "shop", **changes: Any) -> dict[str, Any]:
    return raw_item(0, source_uri=uri, data={"fact_text": TEXT}, confidence=0.5, **changes)


async def ids(api: Api, path: str = PATH, **body: Any) -> list[str]:
    return [hit["extraction"]["id"] for hit in (await api.post(path, {"query": "river", **body}))["items"]]


async def test_a_hit_says_why_it_was_found(api: Api) -> None:
    await api.accepted([part(), *(raw_item(n) for n in range(10))])
    found = await api.post(PATH, {"query": "is XR-4471-B in stock?", "limit": 1})
    [hit] = found["items"]
    assert (found["more"], found["degraded"]) == (False, [])
    assert hit["meaning"] is None, "its vector isn't made yet"
    assert (hit["words"]["rank"], hit["twins"]) == (1, [])
    assert hit["extraction"]["data"] == {"fact_text": TEXT}
    spans = hit["highlights"]["fact_text"]
    assert [TEXT[start:end] for start, end in spans] == ["XR-4471-B", "is", "in", "stock"]
    assert {"stock", "xr4471b"} <= set(hit["terms"])
    await api.work()
    found = await api.post(PATH, {"query": "is XR-4471-B in stock?", "limit": 1})
    [hit] = found["items"]
    assert set(hit) == {"score", "meaning", "words", "terms", "highlights", "twins", "extraction"}
    assert hit["meaning"]["rank"] >= 1
    assert 0 < hit["words"]["score"] <= 1
    assert 0 < hit["score"] <= 1
    assert found["more"]


@pytest.mark.parametrize(("mode", "sides"), [("auto", [1, 1]), ("meaning", [1, 0]), ("words", [0, 1])])
async def test_a_mode_asks_its_sides(api: Api, mode: str, sides: list[int]) -> None:
    await api.accepted([raw_item(n) for n in range(10)])
    await api.work()
    [hit] = (await api.post(PATH, {"query": "river", "mode": mode, "limit": 1}))["items"]
    assert [int(hit[side] is not None) for side in ("meaning", "words")] == sides


async def test_pages_follow_one_another(api: Api) -> None:
    await api.accepted([raw_item(n) for n in range(25)])
    await api.work()
    pages = [await api.post(PATH, {"query": "river", "limit": 10, "offset": at}) for at in (0, 10, 20)]
    found = [hit["extraction"]["id"] for page in pages for hit in page["items"]]
    assert len(set(found)) == len(found) == 25
    assert [page["more"] for page in pages] == [True, True, False]
    assert found == await ids(api, limit=25)


async def test_what_scores_less_is_left_out(api: Api) -> None:
    await api.accepted([raw_item(n) for n in range(25)])
    await api.work()
    everything = (await api.post(PATH, {"query": "river", "limit": 25}))["items"]
    bound = everything[9]["score"]
    wanted = [hit["extraction"]["id"] for hit in everything if hit["score"] >= bound]
    assert await ids(api, limit=25, min_score=bound) == wanted
    assert await ids(api, min_score=1.5) == []
    assert len(await ids(api, limit=25, min_score=-1)) == 25


async def test_twins_are_told_where_they_are_collapsed(api: Api) -> None:
    await api.accepted([part("shop"), part("catalogue")])
    assert len(await ids(api, query="XR-4471-B")) == 2
    [hit] = (await api.post(PATH, {"query": "XR-4471-B", "collapse": True}))["items"]
    [twin] = hit["twins"]
    assert {hit["extraction"]["source"]["uri"], twin["source_uri"]} == {"shop", "catalogue"}
    assert twin["id"] != hit["extraction"]["id"]


async def test_all_projects_are_searched_at_once(api: Api) -> None:
    for project in ("papers", "notes"):
        await api.accepted([part()], project=project)
    for mode in ("auto", "words"):
        body = {"query": "XR-4471-B", "mode": mode}
        hits = (await api.post(EVERYWHERE, body))["items"]
        assert {hit["extraction"]["project"] for hit in hits} == {"papers", "notes"}
    assert len(await ids(api, query="XR-4471-B")) == 1
    assert await ids(api, EVERYWHERE, query="XR-4471-B", min_confidence=0.6) == []
    assert len(await ids(api, EVERYWHERE, query="XR-4471-B", source_uris=["shop"])) == 2


async def test_what_lacks_is_told(api: Api, engine: Engine) -> None:
    await api.accepted([part()])
    await api.container.qdrant_repository().drop_collection()
    found = await api.post(PATH, {"query": "XR-4471-B"})
    assert len(found["items"]) == 1
    [lack] = found["degraded"]
    assert lack.startswith("meaning: ")
    with engine.begin() as connection:
        connection.execute(delete(ExtractionWords))
    assert (await api.post(PATH, {"query": "XR-4471-B"}))["items"] == []


@pytest.mark.parametrize("path", [PATH, EVERYWHERE])
@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"query": ""}, "query"),
        ({}, "query"),
        ({"query": "x", "mode": "both"}, "mode"),
        ({"query": "x", "mode": None}, "mode"),
        ({"query": "x", "offset": -1}, "offset"),
        ({"query": "x", "offset": 1_000}, "offset"),
        ({"query": "x", "offset": 995, "limit": 10}, "offset of 995"),
        ({"query": "x", "limit": 1_001}, "limit"),
        ({"query": "x", "min_score": "much"}, "min_score"),
        ({"query": "x", "collapse": "no"}, "collapse"),
        ({"query": "x", "colapse": True}, "colapse"),
        ({"query": "x", "mode": "meaning", "indexed": False}, "search them by words"),
        ({"query": "x", "mode": "meaning", "set_aside": True}, "search them by words"),
    ],
)
async def test_what_cannot_be_asked_is_refused(api: Api, path: str, body: dict[str, Any], named: str) -> None:
    await api.accepted([part()])
    answer = await api.client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.text


@pytest.mark.parametrize("score", [b"NaN", b"Infinity", b"1e999"])
async def test_a_score_is_a_number(api: Api, score: bytes) -> None:
    body = b'{"query": "x", "min_score": ' + score + b"}"
    answer = await api.client.post(PATH, content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text


async def test_a_project_that_is_not_there_is_named(api: Api) -> None:
    for mode in ("auto", "meaning", "words"):
        answer = await api.client.post("/v1/projects/none/search", json={"query": "x", "mode": mode})
        problem_of(answer, 404, "not-found")
    assert (await api.post(EVERYWHERE, {"query": "x"}))["items"] == []
