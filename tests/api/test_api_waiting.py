"""Answers that wait until the index has followed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support.api import Api, checked, problem_of, raw_item, serving
from support.waiting import until

from app.api.event_streams import MAX_STREAMS_A_CALLER

PATH = "/v1/projects/papers/extractions"
LONG_S = 60
ENDED: dict[str, list[str]] = {"open_jobs": [], "failed_jobs": []}


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        await api.container.indexing().prepare()
        yield api


@asynccontextmanager
async def working(api: Api) -> AsyncIterator[None]:
    worker = api.container.worker()
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await running


async def points(api: Api) -> int:
    return await api.container.qdrant_repository().count()


@pytest.mark.parametrize("lines", [False, True], ids=["json", "ndjson"])
@pytest.mark.parametrize("replace", [None, "source"])
async def test_what_was_handed_in_is_indexed_when_the_answer_comes(
    api: Api, lines: bool, replace: str | None
) -> None:
    params: dict[str, Any] = {"wait": LONG_S} | ({} if replace is None else {"replace": replace})
    async with working(api):
        answer = checked(await api.hand_in([raw_item(n) for n in range(20)], lines=lines, params=params), 200)
        assert answer["waited"] == ENDED
        assert await points(api) == 20
        [job] = answer["jobs"]
        assert (await api.get(f"/v1/jobs/{job}"))["status"] == "completed"


async def test_what_was_deleted_has_left_the_index_when_the_answer_comes(api: Api) -> None:
    async with working(api):
        stored = checked(await api.hand_in([raw_item(n) for n in range(8)], params={"wait": LONG_S}), 200)
        id_ = stored["items"][0]["id"]
        sources = (await api.get("/v1/projects/papers/sources"))["items"]
        for path, left in (
            (f"/v1/extractions/{id_}?wait={LONG_S}", 7),
            (f"/v1/projects/papers/sources/{sources[0]['id']}?wait={LONG_S}", None),
        ):
            answer = await api.delete(path, status=200)
            assert answer["waited"] == ENDED
            assert left is None or await points(api) == left
        answer = await api.post(f"{PATH}/delete?wait={LONG_S}", {"all": True})
        assert answer["waited"] == ENDED
        assert await points(api) == 0


async def test_without_it_nothing_is_waited_for(api: Api) -> None:
    assert checked(await api.hand_in([raw_item(1)]), 202)["waited"] is None


async def test_what_still_runs_is_told(api: Api) -> None:
    answer = checked(await api.hand_in([raw_item(1)], params={"wait": 0.1}), 202)
    assert answer["waited"] == {"open_jobs": answer["jobs"], "failed_jobs": []}
    deleted = await api.delete(f"/v1/extractions/{answer['items'][0]['id']}?wait=0")
    assert deleted["waited"] == {"open_jobs": deleted["jobs"], "failed_jobs": []}


async def test_a_job_that_was_cancelled_is_told(api: Api) -> None:
    waiting = asyncio.create_task(api.hand_in([raw_item(1)], params={"wait": LONG_S}))
    [job] = await first_jobs(api)
    await api.post(f"/v1/jobs/{job}/cancel", status=202)
    assert checked(await waiting, 200)["waited"] == {"open_jobs": [], "failed_jobs": [job]}


async def test_those_who_wait_keep_no_others_out_and_have_a_bound(api: Api) -> None:
    crowd = [
        asyncio.create_task(api.hand_in([raw_item(n)], params={"wait": LONG_S}))
        for n in range(MAX_STREAMS_A_CALLER)
    ]
    await until(lambda: api.app.state.streams.open_streams == MAX_STREAMS_A_CALLER)
    assert checked(await api.hand_in([raw_item(99)]), 202)["new"] == 1
    more = checked(await api.hand_in([raw_item(100)], params={"wait": LONG_S}), 202)
    assert more["waited"]["open_jobs"] == more["jobs"]
    async with working(api):
        for answer in await asyncio.gather(*crowd):
            assert checked(answer, 200)["waited"] == ENDED
    assert api.app.state.streams.open_streams == 0


async def test_who_waits_is_answered_when_the_service_stops(api: Api) -> None:
    waiting = asyncio.create_task(api.hand_in([raw_item(1)], params={"wait": LONG_S}))
    await until(lambda: api.app.state.streams.open_streams)
    api.app.state.stopping.set()
    answer = checked(await waiting, 202)
    assert answer["waited"]["open_jobs"] == answer["jobs"]


@pytest.mark.parametrize("seconds", ["-1", "61", "nan", "soon"])
async def test_a_wait_out_of_bounds_is_refused_and_changes_nothing(api: Api, seconds: str) -> None:
    problem = problem_of(await api.hand_in([raw_item(1)], params={"wait": seconds}), 422, "invalid-input")
    assert "wait" in str(problem)
    assert (await api.get("/v1/projects"))["items"] == []


async def first_jobs(api: Api) -> list[str]:
    found: list[str] = []

    async def look() -> None:
        while not found:
            found.extend(job["id"] for job in (await api.get("/v1/jobs"))["items"])

    await asyncio.wait_for(look(), LONG_S)
    return found
