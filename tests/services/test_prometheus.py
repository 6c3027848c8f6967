"""A scrape: what it says, by whose rules, and what it costs."""

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from support.exposition import busy_exposition, make_busy, run_jobs, samples, scrape
from support.parts import open_container
from support.rows import statements, writing

from app.database import Database
from app.domain.jobs import JobStatus
from app.executor import BoundedExecutor, Lane
from app.models import Base
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import duration_dialect_for
from app.services.metrics.prometheus import MetricsExporter, new_registry
from containers import Container


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    with open_container(tmp_path) as container:
        yield container


def exporter_over(
    database: Database, executor: BoundedExecutor, lane: Lane, *, patience_s: float = 5.0
) -> MetricsExporter:
    collector = MetricsCollector(database, duration_dialect_for(database.dialect), executor)
    return MetricsExporter(collector, new_registry(), lane, patience_s=patience_s)


class TestConventions:
    def test_promtool_has_nothing_to_complain_about(self, tmp_path: Path) -> None:
        tool = shutil.which("promtool")
        if tool is None:
            missing = "promtool, which Debian's package prometheus has, is not on the PATH"
            if "CI" in os.environ:
                pytest.fail(missing)
            pytest.skip(missing)
        checked = subprocess.run(
            [tool, "check", "metrics"],
            input=busy_exposition(tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")

    def test_every_name_is_ours_or_the_process_s(self, tmp_path: Path) -> None:
        for family in text_string_to_metric_families(busy_exposition(tmp_path)):
            assert family.name.startswith(("agent_storage_", "process_")), family.name
            assert family.documentation, family.name

    async def test_the_content_type_is_the_text_format_s(self, container: Container) -> None:
        _, content_type = await container.metrics_exporter().render()
        assert content_type == "text/plain; version=0.0.4; charset=utf-8"

    async def test_a_strange_job_type_is_escaped(self, container: Container) -> None:
        job_type = 'a "quoted\\" \n type 😀'
        await container.database().write(lambda session: run_jobs(session, job_type, JobStatus.CANCELLED))
        ended = samples(await scrape(container))["agent_storage_jobs_ended_total"]
        assert ended[("status", "cancelled"), ("type", job_type)] == 1.0


class TestFigures:
    async def test_jobs_by_type_and_status(self, container: Container) -> None:
        await make_busy(container)
        found = samples(await scrape(container))

        ended = found["agent_storage_jobs_ended_total"]
        assert ended[("status", "completed"), ("type", "tidy")] == 1.0
        assert ended[("status", "failed"), ("type", "tidy")] == 1.0
        assert ended[("status", "cancelled"), ("type", "tidy")] == 0.0
        still_open = found["agent_storage_jobs_open"]
        assert still_open[("status", "queued"), ("type", "embed")] == 1.0
        assert still_open[("status", "queued"), ("type", "tidy")] == 0.0
        ages = found["agent_storage_oldest_queued_job_age_seconds"]
        assert ages[(("type", "embed"),)] >= 0.0
        assert ages[(("type", "tidy"),)] == 0.0

    async def test_durations_of_completed_jobs(self, container: Container) -> None:
        await make_busy(container)
        found = samples(await scrape(container))
        exact = (await container.metrics_collector().collect()).job_durations["tidy"]

        name, tidy = "agent_storage_completed_job_duration", (("type", "tidy"),)
        assert found[f"{name}_seconds_count"] == {tidy: 1.0}
        assert found[f"{name}_seconds_sum"][tidy] == exact.avg_seconds
        assert found[f"{name}_min_seconds"][tidy] == exact.min_seconds
        assert found[f"{name}_max_seconds"][tidy] == exact.max_seconds
        assert found[f"{name}_average_seconds"][tidy] == exact.avg_seconds

    async def test_stores_pool_and_lanes(self, container: Container) -> None:
        await make_busy(container)
        found = samples(await scrape(container))

        assert found["agent_storage_database_up"] == {(): 1.0}
        assert found["agent_storage_extractions"] == {(): 3.0}
        assert found["agent_storage_orphans"] == {(): 3.0}
        assert found["agent_storage_set_aside_extractions"] == {(): 0.0}
        assert found["agent_storage_database_pool_size"] == {(): 5.0}
        assert found["agent_storage_database_pool_waits_total"] == {(): 0.0}
        lanes = {("database",), ("embedding",), ("files",), ("qdrant",)}
        for name in ("limit", "active_calls", "waiting_calls", "rejected_calls_total", "run_seconds_total"):
            labels = found[f"agent_storage_lane_{name}"]
            assert {tuple(value for _, value in each) for each in labels} == lanes, name

    async def test_what_the_parts_report(self, container: Container) -> None:
        await make_busy(container)
        found = samples(await scrape(container))

        search = (("operation", "search"),)
        assert found["agent_storage_qdrant_request_duration_seconds_count"][search] == 1.0
        assert found["agent_storage_qdrant_request_errors_total"][search] == 0.0
        assert found["agent_storage_embedded_texts_total"] == {(): 1.0}
        attempt = (("outcome", "completed"), ("type", "tidy"))
        assert found["agent_storage_job_duration_seconds_sum"] == {attempt: 0.2}
        request = (("method", "GET"), ("route", "/v1/jobs/{id}"), ("status", "200"))
        assert found["agent_storage_http_request_duration_seconds_count"] == {request: 1.0}

    async def test_a_process_without_the_stores_tells_of_itself_alone(self, container: Container) -> None:
        await make_busy(container)
        await scrape(container)
        with statements(container.engine()) as sent:
            found = samples(await scrape(container, stores=False))
        assert sent == []
        assert "agent_storage_lane_limit" in found
        assert "agent_storage_job_duration_seconds_count" in found
        names = ("jobs_ended_total", "jobs_open", "extractions", "orphans", "database_up")
        assert not {f"agent_storage_{name}" for name in names} & found.keys()

    async def test_two_containers_share_nothing(self, tmp_path: Path) -> None:
        with open_container(tmp_path / "one") as one, open_container(tmp_path / "other") as other:
            one.instruments().job("tidy", "completed", 1.0)
            assert "tidy" in await scrape(one)
            assert "tidy" not in await scrape(other)
        assert not [family for family in REGISTRY.collect() if family.name.startswith("agent_storage")]


class TestCost:
    async def test_scrapes_at_once_ask_sql_once(self, tmp_path: Path) -> None:
        asked = []
        for scrapes in (1, 50):
            with open_container(tmp_path / str(scrapes)) as container:
                with statements(container.engine()) as sent:
                    bodies = await asyncio.gather(*(scrape(container) for _ in range(scrapes)))
                assert len(set(bodies)) == 1
                asked.append(len(sent))
        assert asked[0] == asked[1]

    async def test_a_scrape_that_is_cancelled_takes_no_other_along(self, container: Container) -> None:
        first = asyncio.create_task(scrape(container))
        second = asyncio.create_task(scrape(container))
        await asyncio.sleep(0)
        first.cancel()
        assert "agent_storage_database_up 1.0" in await second
        assert first.cancelled()


class TestWithoutSql:
    async def test_a_refused_statement(
        self,
        engine: Engine,
        database: Database,
        executor: BoundedExecutor,
        make_lane: Callable[..., Lane],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        Base.metadata.drop_all(engine)
        body, _ = await exporter_over(database, executor, make_lane("files")).render()
        found = samples(body.decode())
        assert found["agent_storage_database_up"] == {(): 0.0}
        assert "agent_storage_lane_limit" in found
        assert "agent_storage_jobs_open" not in found
        assert "without the figures from SQL" in caplog.text

    @pytest.mark.slow
    async def test_a_database_that_hangs_is_asked_once(
        self, postgres_engine: Engine, executor: BoundedExecutor, make_lane: Callable[..., Lane]
    ) -> None:
        database = Database(postgres_engine, make_lane("database", limit=8))
        exporter = exporter_over(database, executor, make_lane("files"), patience_s=0.1)
        with writing(postgres_engine) as session:
            session.execute(text("LOCK TABLE jobs, job_totals, extractions IN ACCESS EXCLUSIVE MODE"))
            for _ in range(3):
                body = await exporter._render(stores=True)
                assert "agent_storage_database_up 0.0" in body.decode()
            busy = {lane.name: lane.active for lane in executor.stats()}
        assert busy == {"database": 1, "files": 0}

        await exporter._sample.get()
        assert "agent_storage_database_up 1.0" in (await exporter._render(stores=True)).decode()

    async def test_a_full_lane_holds_nothing_up(
        self, database: Database, executor: BoundedExecutor, make_lane: Callable[..., Lane]
    ) -> None:
        lane = make_lane("files", limit=1, max_waiting=1, wait_timeout_s=0.05)
        released = threading.Event()
        busy = asyncio.create_task(lane.run(released.wait, 30.0))
        await asyncio.sleep(0)
        body, _ = await exporter_over(database, executor, lane).render()
        released.set()
        await busy
        assert samples(body.decode())["agent_storage_lane_active_calls"][(("lane", "files"),)] == 1.0
