"""The code that the documentation shows: each example is run, and does what its page says."""

import asyncio
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from sqlalchemy import Engine, literal, select
from support.cli import ROOT, environment
from support.forked import Process
from support.forkserver import Program
from support.loopback import TLS
from support.parts import fill, make_item, settings_for
from support.processes import end, free_port
from support.settings import enter_empty_place

from app.domain.jobs import job_as_dict
from app.domain.search import Query
from app.errors import EmbeddingRejected
from app.models import UtcDateTime
from app.services.metrics.dialects import PostgresDurationDialect
from containers import create_container, running

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)


def example(name: str) -> Any:
    return import_module(f"examples.{name}")


def test_an_application_stores_and_finds_what_its_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "embedding.md").read_text()
    enter_empty_place(tmp_path, monkeypatch)
    example("application").main()
    first = capsys.readouterr().out
    assert f"```text\n{first}```" in page
    example("application").main()
    assert capsys.readouterr().out == first.replace("3 new, 0 known", "0 new, 3 known")


async def test_a_web_application_indexes_beside_its_requests(tmp_path: Path) -> None:
    with running(create_container(settings_for(tmp_path))) as container:
        app = example("web_application").create_app(container)
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, verify=TLS) as client,
        ):
            stored = await client.put("http://here/notes/one", params={"text": "A new ferry"})
            assert stored.json() == {"new": True}
            found: list[str] = []
            async with asyncio.timeout(60):
                while not found:
                    found = (await client.get("http://here/notes", params={"like": "ferry"})).json()
    assert found == ["A new ferry"]


# --- an embedder ----------------------------------------------------------------------------------


async def test_an_embedder_of_ones_own_is_used_by_every_part(tmp_path: Path) -> None:
    container = example("extending.embedder").container_with_trigrams(settings_for(tmp_path))
    with running(container):
        texts = ["The bridge was closed", "A new ferry", "Die Brücke"]
        items = [make_item(n, data={"text": text}) for n, text in enumerate(texts)]
        await fill(container, items)
        (found, *_) = await container.search().search(Query("teh brigde was close", project="papers"))
        assert found.extraction.data == {"text": "The bridge was closed"}
        assert container.measured_embedder().identity.name == "trigrams"


async def test_an_embedder_of_ones_own_keeps_the_promises(tmp_path: Path) -> None:
    container = example("extending.embedder").container_with_trigrams(settings_for(tmp_path))
    with running(container):
        embedder = container.embedder()
        vectors = await embedder.embed(["a", "río", "x" * 200_000])
        assert (vectors.dtype, vectors.shape) == (np.float32, (3, embedder.identity.dimension))
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
        assert (await embedder.embed([])).shape == (0, embedder.identity.dimension)
        with pytest.raises(EmbeddingRejected, match="text 1"):
            await embedder.embed(["fine", " "])
        await embedder.ping()


def test_an_embedder_of_ones_own_serves(tmp_path: Path) -> None:
    port = free_port()
    program = Program("examples.extending.embedder", [], tmp_path, environment(API_PORT=str(port)))
    with (tmp_path / "serve.log").open("wb") as log:
        process = Process(program, stderr=log)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=TLS) as client:
            found = find_over_http(client, "Die Brücke ist gesperrt", "die bruecke gespert")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, (tmp_path / "serve.log").read_text()
    finally:
        end(process)
    assert found > 0.5


def find_over_http(client: httpx2.Client, text: str, query: str) -> float:
    """Store a text once the service answers, and return its score once it is found."""
    items = [{"source_uri": "doc", "extraction_type": "fact", "data": {"text": text}}]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(httpx2.TransportError, httpx2.HTTPStatusError):
            client.post("/v1/projects/p/extractions", json={"extractions": items}).raise_for_status()
            answer = client.post(
                "/v1/projects/p/search", json={"query": query, "mode": "meaning"}
            ).raise_for_status()
            if hits := answer.json()["items"]:
                score: float = hits[0]["score"]
                return score
        time.sleep(0.02)
    pytest.fail("it never was found")


# --- a type of job --------------------------------------------------------------------------------


async def test_a_job_of_ones_own_runs_beside_the_others(tmp_path: Path) -> None:
    words = example("extending.job_handler")
    container = words.container_with_word_counts(settings_for(tmp_path))
    with running(container):
        await fill(container, [make_item(n) for n in range(600)])  # more than it reads at once
        job_id = await words.queue_word_count(container, "papers")
        assert await words.queue_word_count(container, "papers") == job_id
        await container.worker().run_one()
        job = job_as_dict(await container.jobs().get(job_id))
    assert (job["status"], job["progress"]["done"]) == ("completed", 600)
    assert job["result"]["extractions"] == 600
    assert job["result"]["words"]["river"] == 120  # 60 as the first word, 60 as the second


# --- a dialect strategy ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "between",
    [timedelta(0), timedelta(microseconds=1), timedelta(days=40_000, microseconds=-1), timedelta(hours=-3)],
)
def test_a_strategy_of_ones_own_is_exact(postgres_engine: Engine, between: timedelta) -> None:
    rounding = example("extending.duration_dialect").RoundingDurationDialect()
    start, end_ = literal(NOW, UtcDateTime), literal(NOW + between, UtcDateTime)
    own, known = rounding.microseconds_between(start, end_), PostgresDurationDialect()
    asked = select(own, known.microseconds_between(start, end_), rounding.seconds_between(start, end_))
    with postgres_engine.connect() as connection:
        ours, theirs, seconds = connection.execute(asked).one()
    assert ours == theirs == between // timedelta(microseconds=1)
    assert seconds == between.total_seconds()


def test_a_strategy_of_ones_own_goes_into_the_container(tmp_path: Path) -> None:
    rounding = example("extending.duration_dialect")
    with running(rounding.container_with_rounding(settings_for(tmp_path))) as container:
        assert isinstance(container.duration_dialect(), rounding.RoundingDurationDialect)
