"""Exports over HTTP: a stream that is whole or broken off, and pages that can be gone on from."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import orjson
import pytest
from sqlalchemy import Engine
from support.api import Api, problem_of, raw_item, serving
from support.odd_facts import odd_fact
from support.waiting import until

from app.api.event_streams import MAX_STREAMS_A_CALLER
from app.domain.export import ExportRow
from app.domain.ids import project_id_of

PATH = "/v1/projects/papers/export"


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


async def hand_in(api: Api, count: int) -> None:
    for start in range(0, count, 500):
        answer = await api.hand_in([odd_fact(number) for number in range(start, min(count, start + 500))])
        assert answer.status_code == 202


async def lines_of(api: Api, **params: object) -> list[bytes]:
    answer = await api.client.get(PATH, params=params)  # type: ignore[arg-type]  # any parameter
    assert answer.status_code == 200, answer.text
    return answer.content.splitlines(keepends=True)


async def test_a_stream_goes_in_again(api: Api) -> None:
    await hand_in(api, 2_300)
    async with api.client.stream("GET", PATH) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.headers["transfer-encoding"] == "chunked", "its end tells that it is whole"
        content = await answer.aread()
    lines = content.splitlines()
    assert len(lines) == 2_300
    again = await api.client.post(
        "/v1/projects/papers/extractions", content=content, headers={"content-type": "application/x-ndjson"}
    )
    assert again.json()["new"] == 0
    assert again.json()["changed"] == 0


async def test_pages_make_up_the_stream(api: Api) -> None:
    await hand_in(api, 1_200)
    stream = (await api.client.get(PATH)).content
    table = (await api.client.get(PATH, params={"format": "csv"})).content
    for form, whole in (("jsonl", stream), ("csv", table)):
        pages, cursor = b"", None
        while True:
            params = {"format": form, "limit": "500"} | ({} if cursor is None else {"after": cursor})
            page = await api.client.get(PATH, params=params)
            assert page.headers["content-length"] == str(len(page.content))
            pages += page.content
            cursor = page.headers.get("x-next-cursor")
            if cursor is None:
                break
            assert (await api.client.get(PATH, params={"format": form, "after": cursor})).content == whole[
                len(pages) :
            ]
        assert pages == whole
    names, *rows = csv.reader(io.StringIO(table.decode(), newline=""))
    assert tuple(names) == ExportRow._fields
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)


async def test_filters_and_bad_input(api: Api) -> None:
    await api.hand_in([raw_item(number) for number in range(100)])
    assert len(await lines_of(api, extraction_types="claim")) == 50
    assert len(await lines_of(api, extraction_types="claim", where="n=7")) == 1
    assert await lines_of(api, source_groups="nowhere") == []
    for params, reason in (
        ({"after": "x"}, "isn't the cursor of an export"),
        ({"format": "parquet"}, "jsonl"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"cursor": "x"}, "cursor"),
    ):
        refused = await api.client.get(PATH, params=params)
        assert refused.status_code == 422
        assert reason in refused.text
    for params in ({"where": "amont = 1"}, {"where": "amont = 1", "limit": "5"}):
        warned = await api.client.get(PATH, params=params)
        assert json.loads(warned.headers["x-warnings"]) == ["no fact has amont"]
        assert not warned.content
    assert "x-warnings" not in (await api.client.get(PATH, params={"where": "n = 7"})).headers
    problem_of(await api.client.get("/v1/projects/nowhere/export"), 404, "not-found")
    await api.hand_in([raw_item(1), raw_item(2)], project="other")
    page = await api.client.get("/v1/projects/other/export", params={"limit": 1})
    refused = await api.client.get(PATH, params={"after": page.headers["x-next-cursor"]})
    assert "another project" in problem_of(refused, 422, "invalid-input")["detail"]


async def test_a_fault_breaks_the_stream_off(api: Api) -> None:
    """The project is deleted while it is read: what came doesn't look whole."""
    large = [raw_item(number, data={"fact_text": f"{number} {'x' * 20_000}"}) for number in range(3_000)]
    for start in range(0, 3_000, 300):
        assert (await api.hand_in(large[start : start + 300])).status_code == 202
    async with api.client.stream("GET", PATH) as answer:
        pieces = answer.aiter_raw()
        await anext(pieces)
        await api.container.projects().delete("papers")
        with pytest.raises(httpx2.RemoteProtocolError):
            await _read(pieces)


async def _read(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def test_a_caller_holds_so_many_streams_and_gives_each_back(api: Api) -> None:
    large = [raw_item(number, data={"fact_text": f"{number} {'x' * 20_000}"}) for number in range(1_500)]
    for start in range(0, 1_500, 300):
        await api.hand_in(large[start : start + 300])
    places = api.app.state.stream_places

    async def hold(held: asyncio.Event, release: asyncio.Event) -> None:
        async with api.client.stream("GET", PATH) as answer:
            assert answer.status_code == 200
            held.set()
            await release.wait()

    release = asyncio.Event()
    holders = []
    for _ in range(MAX_STREAMS_A_CALLER):
        held = asyncio.Event()
        holders.append(asyncio.create_task(hold(held, release)))
        await held.wait()
    refused = problem_of(await api.client.get(PATH), 503, "saturated")
    assert "streams already" in refused["detail"]
    assert (await api.client.get(PATH, params={"limit": 1})).status_code == 200, "a page is no stream"
    release.set()
    await asyncio.gather(*holders)
    await until(lambda: not places.taken)


async def test_answers_go_in_again(api: Api) -> None:
    """An extraction that any answer holds can be handed in as it is."""
    await api.hand_in([raw_item(1, metadata={"page": 1})])
    await api.container.indexing().prepare()
    worker = api.container.worker()
    while await worker.run_one() is not None:
        pass
    listed = (await api.get("/v1/projects/papers/extractions"))["items"][0]
    hit = (await api.post("/v1/projects/papers/search", {"query": "bread"}))["items"][0]
    one = await api.get(f"/v1/extractions/{listed['id']}")
    assert listed["project"] == "papers"
    assert listed["project_id"] == str(project_id_of("papers"))
    assert {name: listed[name] for name in raw_item(1)} == raw_item(1)
    assert listed["source"] == {"id": listed["source"]["id"], "uri": "doc:0", "group": "group-0"}
    for answer in (listed, one, hit["extraction"]):
        again = (await api.hand_in([answer])).json()
        assert (again["new"], again["changed"]) == (0, 0)
        assert (await api.hand_in([answer], lines=True)).json()["new"] == 0
    other = (await api.hand_in([listed], project="other")).json()
    assert other["new"] == 1
    assert orjson.loads((await api.client.get("/v1/projects/other/export")).content) == {
        **raw_item(1),
        "metadata": {"page": 1},
    }
    assert (await api.hand_in([{**listed, "colour": "red"}])).status_code == 422
