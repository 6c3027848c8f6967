"""The OpenAPI document against the running service: no undocumented response, no server error."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method
from support.api import Api, raw_item, serving

from app.api.app import create_app
from app.api.bodies import NDJSON
from app.config import Settings
from app.entrypoints.api import options_of
from containers import create_container

KEY = "hunter2-of-the-API"
EXAMPLES = 15


@contextmanager
def in_background(folder: Path, **options: Any) -> Iterator[str]:
    """Run the API with a worker in a separate thread; return its URL.

    schemathesis calls it from this thread.
    """
    started, stopping = threading.Event(), threading.Event()
    url: list[str] = []

    async def run() -> None:
        async with serving(folder, **options) as api:
            await _fill(api)
            worker = api.container.worker()
            working = asyncio.create_task(worker.run())
            url.append(str(api.client.base_url))
            started.set()
            await asyncio.to_thread(stopping.wait)
            worker.stop()
            await working

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        assert started.wait(60)
        yield url[0]
    finally:
        stopping.set()
        thread.join(60)


async def _fill(api: Api) -> None:
    api.client.headers["x-api-key"] = KEY
    await api.accepted([raw_item(n) for n in range(20)], project="0")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with in_background(tmp_path_factory.mktemp("api"), sections={"api": {"api_keys": [KEY]}}) as url:
        yield url


DEFAULTS = Settings.model_validate({})

schema = schemathesis.openapi.from_dict(create_app(create_container(DEFAULTS), options_of(DEFAULTS)).openapi())


@schemathesis.serializer(NDJSON)
def as_lines(_: object, value: object) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else orjson.dumps(value, default=str)


@schema.auth()
class Key:
    """How schemathesis shows the key, so that it can leave it out, too."""

    def get(self, *_: object) -> str:
        return KEY

    def set(self, case: "schemathesis.Case[Any]", data: str, _: object) -> None:
        case.headers["X-API-Key"] = data


@pytest.mark.slow
@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_no_answer_is_undocumented(case: "schemathesis.Case[Any]", url: str) -> None:
    # A schema can't say all that is asked of a request, such as a text in the data.
    excluded: list[Any] = [positive_data_acceptance]
    if case.path in {"/v1/jobs/prune", "/v1/projects/{name}/sources/prune"}:
        excluded.append(unsupported_method)  # with GET it is the one of that name, and its id is no UUID
    case.call_and_validate(base_url=url, timeout=30, excluded_checks=excluded)
