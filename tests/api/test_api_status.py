"""How the service is: liveness, readiness, metrics and the log's line of each request."""

import asyncio
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support.api import checked, problem_of, raw_item, serving
from support.exposition import samples
from support.parts import settings_for

from containers import create_container, running


class FaultyClient:
    """A Qdrant client that hangs, or fails with a message that mustn't be shown, on request."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.answers = threading.Event()
        self.answers.set()
        self.fault: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **options: Any) -> Any:
            assert self.answers.wait(60)
            if self.fault is not None:
                raise self.fault
            return attribute(*args, **options)

        return call


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FaultyClient]:
    folder = tmp_path / "other"
    folder.mkdir()
    with running(create_container(settings_for(folder))) as container:
        client = FaultyClient(container.qdrant_client())
        yield client
        client.answers.set()


def parts_of(answer: Any) -> dict[str, Any]:
    return {part["part"]: part for part in answer["parts"]}


async def test_a_healthy_service_is_live_and_ready(tmp_path: Path, engine: Engine) -> None:
    async with serving(tmp_path, engine=engine) as api:
        assert await api.get("/health/live") == {"ok": True}
        ready = await api.get("/health/ready")
        assert ready["ok"]
        assert parts_of(ready).keys() == {"database", "qdrant", "index", "executor"}
        assert all(part["ok"] and part["error"] is None for part in ready["parts"])
        assert all(0 <= part["latency_seconds"] < 60 for part in ready["parts"])


@pytest.mark.slow
async def test_a_hanging_part_is_named_and_holds_nothing_else_up(tmp_path: Path, client: FaultyClient) -> None:
    async with serving(tmp_path, qdrant_client=client) as api:
        await api.accepted([raw_item(1)])
        client.answers.clear()
        searching = [
            asyncio.create_task(api.client.post("/v1/projects/papers/search", json={"query": "river"}))
            for _ in range(30)
        ]
        started = time.monotonic()
        for _ in range(2):
            answer = await api.client.get("/health/ready")
            body = checked(answer, 503)
            assert not body["ok"]
            assert not parts_of(body)["qdrant"]["ok"]
            assert "no answer" in parts_of(body)["qdrant"]["error"]
            assert parts_of(body)["database"]["ok"]
        assert time.monotonic() - started < 30, "it waited for the part that hangs"
        assert (await api.get("/v1/projects"))["items"][0]["extractions"] == 1
        assert await api.get("/health/live") == {"ok": True}
        client.answers.set()
        await asyncio.gather(*searching)
        assert (await api.get("/health/ready"))["ok"]


async def test_a_broken_part_is_named_without_its_words(
    tmp_path: Path, client: FaultyClient, caplog: pytest.LogCaptureFixture
) -> None:
    sections = {"qdrant": {"retry_timeout": 2.0}}
    async with serving(tmp_path, sections=sections, qdrant_client=client) as api:
        client.fault = ConnectionError("http://hunter2@127.0.0.1 is gone")
        answer = await api.client.get("/health/ready")
        part = parts_of(checked(answer, 503))["qdrant"]
        assert not part["ok"]
        assert "the log says why" in part["error"]
        assert "hunter2" not in answer.text
        assert [record for record in caplog.records if "qdrant" in record.getMessage()]


@pytest.mark.slow
async def test_metrics_carry_the_routes_templates(tmp_path: Path) -> None:
    async with serving(tmp_path) as api:
        answer = await api.accepted([raw_item(n) for n in range(3)])
        await api.work()
        await api.get(f"/v1/jobs/{answer['job_id']}")
        await api.get(f"/v1/extractions/{answer['items'][0]['id']}")
        await api.client.get("/v1/projects/none")
        await api.client.get("/v1/projects/a%20b")
        await api.client.get("/some/where")
        await api.client.request("PUT", "/v1/projects")
        await api.client.request("BREW", "/some/where")
        scraped = await api.client.get("/metrics")
    assert scraped.headers["content-type"].startswith("text/plain")
    counted = {
        tuple(value for _, value in labels)
        for name, values in samples(scraped.text).items()
        if name.startswith("agent_storage_http") and name.endswith("_count")
        for labels in values
    }
    told = " ".join(" ".join(labels) for labels in counted)
    for template in ("/v1/jobs/{job_id}", "/v1/extractions/{extraction_id}", "/v1/projects/{name}/extractions"):
        assert template in told
    assert "unmatched" in told
    for given in (answer["job_id"], "/some/where", "none", "BREW", "a b"):
        assert given not in told


async def test_promtool_has_nothing_to_complain_about(tmp_path: Path) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool, which Debian's package prometheus has, is not on the PATH")
    async with serving(tmp_path) as api:
        await api.accepted([raw_item(n) for n in range(3)])
        await api.work()
        await api.post("/v1/projects/papers/search", {"query": "river"})
        body = (await api.client.get("/metrics")).content
    checked_by = await asyncio.to_thread(
        subprocess.run, [tool, "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert (checked_by.returncode, checked_by.stdout + checked_by.stderr) == (0, b"")


async def test_each_request_has_its_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(tmp_path, sections={"api": {"api_keys": ["hunter2-of-the-API"]}}) as api:
        with caplog.at_level(logging.INFO, "app.api"):
            await api.client.post(
                "/v1/projects", json={"name": "papers"}, headers={"x-api-key": "hunter2-of-the-API"}
            )
            problem_of(await api.client.get("/v1/jobs"), 401, "not-authenticated")
            await api.client.get(
                "/some/where?key=hunter2-of-the-API", headers={"x-api-key": "hunter2-of-the-API"}
            )
    lines = [record for record in caplog.records if record.getMessage() == "request"]
    told = [(line.__dict__["method"], line.__dict__["route"], line.__dict__["status"]) for line in lines]
    assert told == [("POST", "/v1/projects", 201), ("GET", "unmatched", 401), ("GET", "unmatched", 404)]
    assert not [line for line in lines if "hunter2" in str(line.__dict__) or "papers" in str(line.__dict__)]


async def test_a_worker_shows_its_own_health_and_metrics(tmp_path: Path) -> None:
    async with serving(tmp_path, status_only=True) as api:
        assert (await api.get("/health/ready"))["ok"]
        assert "agent_storage" in (await api.client.get("/metrics")).text
        for path in ("/v1/projects", "/v1/jobs"):
            problem_of(await api.client.get(path), 404, "not-found")


async def test_everything_measured_is_told_as_json(tmp_path: Path, engine: Engine) -> None:
    async with serving(tmp_path, engine=engine) as api:
        await api.accepted([raw_item(n) for n in range(3)])
        await api.work()
        told = await api.get("/v1/metrics")
        assert told["jobs"]["embed"] == {"completed": 1}
        assert told["job_durations"]["embed"]["count"] == 1
        assert sum(told["extractions"].values()) == 3
        assert (told["orphans"], told["set_aside"]) == (0, 0)
        assert {"database", "qdrant", "embedding"} <= told["lanes"].keys()
        assert told["pool"]["size"] >= 1
