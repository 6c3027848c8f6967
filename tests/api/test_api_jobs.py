"""Jobs over HTTP: followed, cancelled, retried, pruned and paused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import Engine
from support.api import Api, problem_of, raw_item, serving
from support.jobs import queue_jobs, statuses
from support.waiting import until

from app.domain.cursors import write_cursor
from app.errors import AgentStorageError
from app.services.jobs.running import RunningJob
from containers import Container


class Handlers:
    """Handlers for tests: ``fine`` does nothing, ``broken`` fails, ``slow`` waits for release."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def fine(self, _: RunningJob) -> None:
        return

    async def broken(self, _: RunningJob) -> None:
        raise AgentStorageError("it can't be done")

    async def slow(self, job: RunningJob) -> None:
        await job.report(done=1, total=2)
        await self.release.wait()


@pytest.fixture
async def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
async def api(tmp_path: Path, engine: Engine, handlers: Handlers) -> AsyncIterator[Api]:
    own = {"fine": handlers.fine, "broken": handlers.broken, "slow": handlers.slow}
    sections = {"worker": {"max_attempts": 1, "poll_interval": 0.05}}
    async with serving(tmp_path, sections=sections, engine=engine, handlers=own) as api:
        yield api


@contextlib.asynccontextmanager
async def working(container: Container) -> AsyncIterator[None]:
    """A worker beside the API."""
    worker = container.worker()
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        worker.stop()
        await running


async def events(api: Api, job_id: object) -> list[dict[str, Any]]:
    """Every event of a job until its stream ends."""
    async with api.client.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = [block async for block in answer.aiter_text()]
    found = [block for block in "".join(blocks).split("\n\n") if block.startswith("event: job\ndata: ")]
    return [orjson.loads(block.partition("data: ")[2]) for block in found]


class TestLookingAtJobs:
    async def test_a_job_is_shown_as_it_stands(self, api: Api, engine: Engine) -> None:
        [fine] = queue_jobs(engine, "fine")
        [broken] = queue_jobs(engine, "broken")
        shown = await api.get(f"/v1/jobs/{fine}")
        assert (shown["id"], shown["type"], shown["status"], shown["attempts"]) == (
            str(fine),
            "fine",
            "queued",
            0,
        )
        assert (shown["started_at"], shown["completed_at"], shown["error"]) == (None, None, None)
        assert "payload" not in shown
        await api.work()
        shown = await api.get(f"/v1/jobs/{fine}")
        assert (shown["status"], shown["attempts"], shown["failures"]) == ("completed", 1, 0)
        shown = await api.get(f"/v1/jobs/{broken}")
        assert (shown["status"], shown["attempts"], shown["failures"]) == ("failed", 1, 1)
        assert "it can't be done" in shown["error"]

    async def test_what_is_not_there_is_not_found(self, api: Api) -> None:
        for path, method in (("", "GET"), ("/events", "GET"), ("/cancel", "POST"), ("/retry", "POST")):
            answer = await api.client.request(method, f"/v1/jobs/{uuid4()}{path}")
            problem_of(answer, 404, "not-found")
            answer = await api.client.request(method, f"/v1/jobs/nonsense{path}")
            assert problem_of(answer, 422, "invalid-input")["field"] == "job_id"

    async def test_pages_are_complete_the_newest_first(self, api: Api, engine: Engine) -> None:
        queue_jobs(engine, "fine", 12)
        queue_jobs(engine, "broken", 5)
        for limit in (4, 17, 100):
            found: list[dict[str, Any]] = []
            page = await api.get("/v1/jobs", limit=limit)
            while page["next_cursor"]:
                found += page["items"]
                page = await api.get("/v1/jobs", limit=limit, cursor=page["next_cursor"])
            found += page["items"]
            assert len({job["id"] for job in found}) == len(found) == 17
            # As times: a fraction of zero isn't written.
            created = [datetime.fromisoformat(job["created_at"]) for job in found]
            assert created == sorted(created, reverse=True)

    async def test_filters_pass_what_fits(self, api: Api, engine: Engine) -> None:
        queue_jobs(engine, "fine", 3)
        queue_jobs(engine, "broken", 2)
        await api.work()
        queue_jobs(engine, "fine", 4)
        await api.post("/v1/projects", {"name": "papers"}, 201)
        await api.post("/v1/verify", {"project": "papers"}, 202)
        cases: list[tuple[dict[str, Any], int]] = [
            ({"type": "fine"}, 7),
            ({"type": ["fine", "broken"]}, 9),
            ({"status": "completed"}, 3),
            ({"status": ["failed", "completed"]}, 5),
            ({"type": "fine", "status": "queued"}, 4),
            ({"project": "papers"}, 1),
            ({"project": "other"}, 0),
            ({"type": "none"}, 0),
        ]
        for filters, count in cases:
            assert len((await api.get("/v1/jobs", **filters))["items"]) == count, filters

    async def test_a_filter_that_is_none_is_refused(self, api: Api) -> None:
        for filters in (
            {"type": "a\0b"},
            {"type": ""},
            {"status": "nonsense"},
            {"project": "a b"},
            {"project": "a\0"},
            {"limit": "0"},
            {"cursor": "nonsense"},
            {"cursor": "WyJ4IiwieSJd"},
            {"cursor": "WyIyMDI2LTAxLTAxIiwiMDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwIl0"},
        ):
            problem_of(await api.client.get("/v1/jobs", params=filters), 422, "invalid-input")

    async def test_a_cursor_from_the_ends_of_time_is_no_fault(self, api: Api, engine: Engine) -> None:
        queue_jobs(engine, "fine")
        for moment in (
            "0001-01-01T00:00:00+00:00",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59.999999-14:00",
            "9999-12-31T23:59:59.999999+00:00",
        ):
            answer = await api.client.get("/v1/jobs", params={"cursor": write_cursor(moment, str(uuid4()))})
            assert answer.status_code in {200, 422}, (moment, answer.text)


class TestSteppingIn:
    async def test_a_job_that_waits_is_cancelled_and_may_be_retried(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "fine")
        assert (await api.post(f"/v1/jobs/{job}/cancel", status=202))["status"] == "cancelled"
        problem_of(await api.client.post(f"/v1/jobs/{job}/cancel"), 409, "conflict")
        await api.work()
        assert (await api.get(f"/v1/jobs/{job}"))["attempts"] == 0
        assert (await api.post(f"/v1/jobs/{job}/retry", status=202))["status"] == "queued"
        await api.work()
        assert (await api.get(f"/v1/jobs/{job}"))["status"] == "completed"
        problem_of(await api.client.post(f"/v1/jobs/{job}/retry"), 409, "conflict")
        problem_of(await api.client.post(f"/v1/jobs/{job}/cancel"), 409, "conflict")

    async def test_a_failed_job_is_retried(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "broken")
        await api.work()
        assert (await api.post(f"/v1/jobs/{job}/retry", status=202))["status"] == "queued"
        await api.work()
        shown = await api.get(f"/v1/jobs/{job}")
        assert (shown["status"], shown["attempts"]) == ("failed", 2)

    async def test_ended_jobs_are_pruned_by_age(self, api: Api, engine: Engine) -> None:
        queue_jobs(engine, "fine", 3)
        queue_jobs(engine, "broken", 1)
        await api.work()
        queue_jobs(engine, "fine", 2)
        assert await api.post("/v1/jobs/prune", {"older_than_seconds": 3600}) == {"pruned": 0}
        assert await api.post("/v1/jobs/prune", {"older_than_seconds": 0}) == {"pruned": 4}
        assert statuses(engine) == {"queued": 2}
        for age in (-1, 1e11, "x", None):
            body = {"older_than_seconds": age}
            problem_of(await api.client.post("/v1/jobs/prune", json=body), 422, "invalid-input")

    async def test_a_paused_type_waits_until_it_is_resumed(self, api: Api, engine: Engine) -> None:
        queue_jobs(engine, "fine")
        assert await api.post("/v1/job-types/fine/pause") == {"paused": ["fine"]}
        assert await api.post("/v1/job-types/fine/pause") == {"paused": ["fine"]}
        assert await api.get("/v1/job-types") == {"paused": ["fine"]}
        await api.work()
        assert statuses(engine) == {"queued": 1}
        assert await api.post("/v1/job-types/fine/resume") == {"paused": []}
        await api.work()
        assert statuses(engine) == {"completed": 1}
        for name in ("a%00b", "x" * 201):
            problem_of(await api.client.post(f"/v1/job-types/{name}/pause"), 422, "invalid-input")


@pytest.mark.slow
class TestEvents:
    async def test_they_follow_a_job_to_its_end(self, api: Api, engine: Engine, handlers: Handlers) -> None:
        [job] = queue_jobs(engine, "slow")
        following = asyncio.create_task(events(api, job))
        async with working(api.container):
            await until(lambda: statuses(engine) == {"running": 1})
            await asyncio.sleep(0.6)  # one look of the stream
            handlers.release.set()
            told = await following
        assert told[0]["status"] in {"queued", "running"}
        assert told[-1]["status"] == "completed"
        assert told[-1]["completed_at"]
        assert "running" in {event["status"] for event in told}
        assert api.app.state.streams.open_streams == 0

    async def test_of_an_ended_job_there_is_one(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "fine")
        await api.work()
        [event] = await events(api, job)
        assert event == await api.get(f"/v1/jobs/{job}")

    async def test_they_end_with_the_service(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "slow")
        following = asyncio.create_task(events(api, job))
        await until(lambda: api.app.state.streams.open_streams == 1)
        api.app.state.stopping.set()
        assert [event["status"] for event in await following] == ["queued"]

    async def test_they_end_when_the_client_leaves(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "slow")
        async with api.client.stream("GET", f"/v1/jobs/{job}/events") as answer:
            await anext(answer.aiter_bytes())
            assert api.app.state.streams.open_streams == 1
        await until(lambda: api.app.state.streams.open_streams == 0)

    async def test_they_end_when_the_job_is_pruned(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "slow")
        following = asyncio.create_task(events(api, job))
        await until(lambda: api.app.state.streams.open_streams == 1)
        await api.post(f"/v1/jobs/{job}/cancel", status=202)
        await api.post("/v1/jobs/prune", {"older_than_seconds": 0})
        told = await following
        assert told[0]["status"] == "queued"

    async def test_there_may_be_a_hundred_at_once(self, api: Api, engine: Engine) -> None:
        [job] = queue_jobs(engine, "slow")
        row = await api.container.jobs().get(job)
        held = [api.app.state.streams.open(row, f"caller {number % 5}") for number in range(100)]
        answer = await api.client.get(f"/v1/jobs/{job}/events")
        problem_of(answer, 503, "saturated")
        assert int(answer.headers["retry-after"]) > 0
        for following in held:
            api.app.state.streams.close(following)


class TestVerify:
    @pytest.fixture
    async def api(self, tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
        async with serving(tmp_path, engine=engine) as api:
            yield api

    @pytest.mark.slow
    async def test_one_runs_at_a_time_for_a_project(self, api: Api) -> None:
        await api.accepted([raw_item(n) for n in range(3)])
        await api.accepted([raw_item(n) for n in range(2)], project="other")
        await api.work()
        first = await api.post("/v1/verify", {"project": "papers"}, 202)
        assert (await api.post("/v1/verify", {"project": "papers"}, 202))["id"] == first["id"]
        other = await api.post("/v1/verify", {"project": "other"}, 202)
        everything = await api.post("/v1/verify", {}, 202)
        bare = await api.client.post("/v1/verify")
        assert (bare.status_code, bare.json()["id"]) == (202, everything["id"])
        repair = await api.post("/v1/verify", {"project": "papers", "repair": True}, 202)
        assert len({job["id"] for job in (first, other, everything, repair)}) == 4
        assert first["type"] == "verify"
        assert repair["type"] == "repair"
        await api.work()
        for job, count in ((first, 3), (other, 2), (everything, 5), (repair, 3)):
            shown = await api.get(f"/v1/jobs/{job['id']}")
            assert shown["status"] == "completed", shown
            assert shown["result"]["extractions"] == count
        assert (await api.post("/v1/verify", {"project": "papers"}, 202))["id"] != first["id"]

    async def test_a_repair_mends(self, api: Api) -> None:
        answer = await api.accepted([raw_item(n) for n in range(3)])
        await api.work()
        await api.container.qdrant_repository().delete_batch([answer["items"][0]["id"]])
        found = await api.post("/v1/verify", {"project": "papers"}, 202)
        await api.work()
        assert (await api.get(f"/v1/jobs/{found['id']}"))["result"]["missing"] == 1
        await api.post("/v1/verify", {"project": "papers", "repair": True}, 202)
        await api.work()
        assert len((await api.post("/v1/projects/papers/search", {"query": "river"}))["items"]) == 3


async def test_a_reindex_is_a_job(tmp_path: Path, engine: Engine) -> None:
    async with serving(tmp_path, engine=engine) as api:
        await api.accepted([raw_item(n) for n in range(5)])
        await api.work()
        answer = await api.client.post("/v1/reindex")
        assert answer.status_code == 202
        job = answer.json()
        assert (job["type"], job["status"], job["project_id"]) == ("reindex", "queued", None)
        assert (await api.client.post("/v1/reindex")).json()["id"] == job["id"]
        await api.work()
        done = await api.get(f"/v1/jobs/{job['id']}")
        assert (done["status"], done["result"]["indexed"]) == ("completed", 5)
        assert (await api.client.post("/v1/reindex?embedder=other")).status_code == 422
