"""The feed of changes over HTTP: page by page, and as a stream of events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from sqlalchemy import Engine
from support.api import Api, problem_of, serving
from support.facts import fact, replaced
from support.waiting import PATIENCE_S, until

from app.api.admission import Admission
from app.api.event_streams import MAX_STREAMS_A_CALLER
from app.database import Database
from app.domain.cursors import write_cursor
from app.domain.ids import project_id_of
from app.domain.sources import ReplaceOptions, SourceFacts
from app.services.storage.repositories.ledger import LedgerRepository

PATH = "/v1/projects/papers/changes"
EVENTS = {"accept": "text/event-stream"}


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


async def read_on(api: Api, cursor: str | None = None, limit: int = 100) -> tuple[list[dict[str, Any]], str]:
    """All changes after a place, and the place after them."""
    found: list[dict[str, Any]] = []
    while True:
        place = {} if cursor is None else {"after": cursor}
        page = await api.get(PATH, limit=limit, **place)
        assert len(page["items"]) <= limit
        found += page["items"]
        cursor = page["cursor"]
        if not page["more"]:
            return found, cursor


async def make_changes(api: Api) -> None:
    """Eleven of all kinds, by transactions of several changes each."""
    await replaced(api.container, "doc:1", "one", "two", "three", group="a")
    await replaced(api.container, "doc:2", "four", "five")
    await replaced(api.container, "doc:1", "two", "three", "six", group="b", confidence=0.5)
    [gone] = (await api.get("/v1/projects/papers/sources", uri_prefix="doc:2"))["items"]
    await api.delete(f"/v1/projects/papers/sources/{gone['id']}")


def place_of(change: dict[str, Any]) -> tuple[object, ...]:
    """The parts of a change that never change, even if its extraction does."""
    return change["number"], change["kind"], change["extraction_id"]


class Events:
    """What a stream tells, event by event."""

    def __init__(self, answer: httpx2.Response) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()

    async def take(self, count: int) -> list[tuple[str, dict[str, Any]]]:
        """The next events, each as its id and its data."""
        async with asyncio.timeout(PATIENCE_S):
            return [await self._next() for _ in range(count)]

    async def rest(self) -> list[str]:
        """All lines until the stream ends."""
        async with asyncio.timeout(PATIENCE_S):
            return [line async for line in self._lines]

    async def _next(self) -> tuple[str, dict[str, Any]]:
        members: dict[str, str] = {}
        async for line in self._lines:
            if not line and members:
                break
            name, _, value = line.partition(": ")
            members[name] = value
        assert members.keys() == {"id", "event", "data"}
        assert members["event"] == "change"
        return members["id"], orjson.loads(members["data"])


@asynccontextmanager
async def following(api: Api, last: str | None = None, **params: str) -> AsyncIterator[Events]:
    """A stream of events, from after the event ``last``."""
    headers = EVENTS if last is None else {**EVENTS, "last-event-id": last}
    async with api.client.stream("GET", PATH, headers=headers, params=params) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)


class TestPages:
    async def test_none_is_missing_and_none_comes_twice(self, api: Api) -> None:
        await make_changes(api)
        whole, cursor = await read_on(api)
        assert [each["number"] for each in whole] == sorted(each["number"] for each in whole)
        kinds = [each["kind"] for each in whole]
        assert (kinds.count("added"), kinds.count("changed"), kinds.count("removed")) == (6, 2, 3)
        assert (kinds.count("regrouped"), kinds[-1]) == (1, "source_deleted")
        for limit in (1, 2, 3, 1000):
            assert await read_on(api, limit=limit) == (whole, cursor)

    async def test_times_are_written_as_everywhere(self, api: Api) -> None:
        await make_changes(api)
        found, _ = await read_on(api)
        removed = next(change["before"] for change in found if change["kind"] == "removed")
        deleted = next(change["before"] for change in found if change["kind"] == "source_deleted")
        times = [removed["created_at"], deleted["created_at"], deleted["observed_at"], found[0]["at"]]
        assert all(time.endswith("Z") for time in times), times

    async def test_it_goes_on_where_it_was(self, api: Api) -> None:
        await api.post("/v1/projects", {"name": "papers"}, 201)
        found, cursor = await read_on(api)
        assert found == []
        await make_changes(api)
        first, cursor = await read_on(api, cursor)
        assert await read_on(api, cursor) == ([], cursor)
        await replaced(api.container, "doc:9", "news")
        [news], _ = await read_on(api, cursor)
        assert news["extraction"]["source"]["uri"] == "doc:9"
        assert news["number"] == first[-1]["number"] + 1

    async def test_a_cursor_that_is_none_is_refused(self, api: Api) -> None:
        await make_changes(api)
        for cursor in (
            "",
            "nonsense",
            "WyJ4Il0",
            write_cursor("1", "1"),
            write_cursor("1", "x", "1"),
            write_cursor("1", "-1", "0"),
            write_cursor("1", "1", str(2**63)),
            write_cursor("1", "1" * 5_000, "0"),
        ):
            answer = await api.client.get(PATH, params={"after": cursor})
            assert problem_of(answer, 422, "invalid-input")["field"] == "after", cursor
        answer = await api.client.get(PATH, params={"cursor": "x"})
        assert problem_of(answer, 422, "invalid-input")["field"] == "cursor"
        problem_of(await api.client.get("/v1/projects/none/changes"), 404, "not-found")

    async def test_a_cursor_of_another_project_is_refused(self, api: Api) -> None:
        await make_changes(api)
        await replaced(api.container, "doc:1", "one", project="other")
        _, cursor = await read_on(api)
        answer = await api.client.get("/v1/projects/other/changes", params={"after": cursor})
        assert problem_of(answer, 422, "invalid-input")["field"] == "after"
        await api.delete("/v1/projects/papers")
        await replaced(api.container, "doc:1", "one")
        answer = await api.client.get(PATH, params={"after": cursor})
        assert problem_of(answer, 422, "invalid-input")["field"] == "after"

    async def test_a_place_that_was_pruned_is_gone(self, api: Api, database: Database) -> None:
        await make_changes(api)
        first = await api.get(PATH, limit=1)
        project = project_id_of("papers")
        await database.write(lambda session: LedgerRepository(session).prune(project, older_than_s=-60))
        for headers in ({}, EVENTS):
            answer = await api.client.get(PATH, params={"after": first["cursor"]}, headers=headers)
            problem_of(answer, 410, "history-pruned")
        begun = await api.get(PATH)
        assert (begun["items"], begun["whole"], begun["more"]) == ([], False, False)
        assert (await api.get(PATH, after=begun["cursor"]))["whole"] is True


@pytest.mark.slow
class TestEvents:
    async def test_they_tell_what_is_there_and_what_comes(self, api: Api) -> None:
        await make_changes(api)
        whole, _ = await read_on(api)
        async with following(api) as events:
            assert [told for _, told in await events.take(len(whole))] == whole
            await replaced(api.container, "doc:9", "news", "more")
            told = [told for _, told in await events.take(2)]
        assert {each["extraction"]["data"]["fact_text"] for each in told} == {"news", "more"}

    async def test_after_each_event_they_go_on_with_the_next(self, api: Api) -> None:
        await make_changes(api)
        whole, _ = await read_on(api)
        async with following(api) as events:
            ids = [id_ for id_, _ in await events.take(len(whole))]
        for taken, id_ in enumerate(ids[:-1], 1):
            async with following(api, id_) as events:
                assert [told for _, told in await events.take(1)] == [whole[taken]]
            assert (await api.get(PATH, after=id_))["items"] == whole[taken:]
        await replaced(api.container, "doc:9", "news")
        async with following(api, ids[-1], after=ids[0]) as events:
            [(_, told)] = await events.take(1)
        assert told["extraction"]["data"]["fact_text"] == "news"

    async def test_more_than_one_look_takes_come_in_order(self, api: Api) -> None:
        facts = [fact("doc:1", f"fact {number}") for number in range(450)]
        await api.container.ingestion().replace("papers", [SourceFacts("doc:1", facts)], ReplaceOptions())
        async with following(api) as events:
            told = await events.take(450)
        whole, cursor = await read_on(api)
        assert [each for _, each in told] == whole
        assert told[-1][0] == cursor

    async def test_a_client_that_comes_again_and_again_beside_writers_misses_none(self, api: Api) -> None:
        await api.post("/v1/projects", {"name": "papers"}, 201)

        async def write(writer: int) -> None:
            for number in range(6):
                await replaced(api.container, f"doc:{writer}", f"old {number}", f"new {number}")

        writing = [asyncio.create_task(write(writer)) for writer in range(3)]
        found: list[dict[str, Any]] = []
        last: str | None = None
        while len(found) < 3 * (12 + 10):
            async with following(api, last) as events:
                taken = await events.take(6)
            found += [told for _, told in taken]
            last = taken[-1][0]
        await asyncio.gather(*writing)
        whole, _ = await read_on(api)
        assert [place_of(each) for each in found] == [place_of(each) for each in whole]

    async def test_an_id_that_is_none_is_refused(self, api: Api) -> None:
        await make_changes(api)
        answer = await api.client.get(PATH, headers={**EVENTS, "last-event-id": "nonsense"})
        assert problem_of(answer, 422, "invalid-input")["field"] == "last-event-id"
        problem_of(await api.client.get("/v1/projects/none/changes", headers=EVENTS), 404, "not-found")
        assert api.app.state.streams.open_streams == 0

    async def test_they_end_with_the_service(self, api: Api) -> None:
        await api.post("/v1/projects", {"name": "papers"}, 201)
        async with following(api) as events:
            api.app.state.stopping.set()
            assert await events.rest() == []

    async def test_they_end_when_the_client_leaves(self, api: Api) -> None:
        await api.post("/v1/projects", {"name": "papers"}, 201)
        async with following(api):
            assert api.app.state.streams.open_streams == 1
        await until(lambda: api.app.state.streams.open_streams == 0)

    async def test_they_end_when_the_project_is_deleted(self, api: Api) -> None:
        await make_changes(api)
        _, cursor = await read_on(api)
        async with following(api, cursor) as events:
            await api.delete("/v1/projects/papers")
            assert await events.rest() == []

    async def test_a_caller_holds_as_many_as_with_jobs(self, api: Api) -> None:
        await make_changes(api)
        [job, *_] = (await api.get("/v1/jobs"))["items"]
        row = await api.container.jobs().get(job["id"])
        held = [api.app.state.streams.open(row, "127.0.0.1") for _ in range(MAX_STREAMS_A_CALLER)]
        answer = await api.client.get(PATH, headers=EVENTS)
        problem_of(answer, 503, "saturated")
        assert int(answer.headers["retry-after"]) > 0
        api.app.state.streams.close(held.pop())
        async with following(api) as events:
            await events.take(1)
        for each in held:
            api.app.state.streams.close(each)


@pytest.mark.parametrize(
    ("accept", "counts"),
    [
        (b"text/event-stream", False),
        (b"text/html, Text/Event-Stream;q=0.9", False),
        (b"application/json", True),
        (b"*/*", True),
        (b"", True),
    ],
)
def test_streams_take_no_place_of_requests(accept: bytes, counts: bool) -> None:
    scope = {"type": "http", "path": PATH, "headers": [(b"accept", accept)]}
    assert Admission.counts(scope) is counts
    assert Admission.counts({**scope, "path": "/v1/projects/papers/sources"})
