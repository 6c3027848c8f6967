"""Sources, runs, history and the feed of changes over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import Engine, update
from sqlalchemy.orm import Session
from support.api import Api, checked, problem_of, serving
from support.waiting import PATIENCE_S

from app.domain.ids import project_id_of, source_id_of
from app.models import Project

PROJECT = "/v1/projects/papers"
EVENTS = {"accept": "text/event-stream"}


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


def fact(source: str, text: str, **changes: Any) -> dict[str, Any]:
    return {"source_uri": source, "extraction_type": "fact", "data": {"fact_text": text}} | changes


def gone(source: str) -> dict[str, Any]:
    return {"source_uri": source, "gone": True}


def source_path(uri: str) -> str:
    return f"{PROJECT}/sources/{source_id_of(project_id_of('papers'), uri)}"


async def stored(api: Api) -> set[tuple[str, str, float | None]]:
    items = (await api.get(f"{PROJECT}/extractions", limit=1_000))["items"]
    return {(item["source"]["uri"], item["data"]["fact_text"], item["confidence"]) for item in items}


async def every_page(api: Api, path: str, **params: Any) -> list[dict[str, Any]]:
    page = await api.get(path, **params)
    items = list(page["items"])
    while page["next_cursor"] is not None:
        page = await api.get(path, cursor=page["next_cursor"], **params)
        items += page["items"]
    return items


class TestSources:
    async def test_they_are_listed_with_and_without_facts(self, api: Api) -> None:
        await api.replaced([fact("doc:a", "x", source_group="g"), fact("doc:b", "y"), fact("web:a", "z")])
        await api.replaced([gone("doc:b")])
        listed = await every_page(api, f"{PROJECT}/sources", limit=1)
        assert {row["uri"]: (row["group"], row["extractions"], row["gone"]) for row in listed} == {
            "doc:a": ("g", 1, False),
            "doc:b": (None, 0, True),
            "web:a": (None, 1, False),
        }
        for params, expected in (
            ({"gone": "true"}, {"doc:b"}),
            ({"gone": "false"}, {"doc:a", "web:a"}),
            ({"group": "g"}, {"doc:a"}),
            ({"uri_prefix": "doc:"}, {"doc:a", "doc:b"}),
            ({"uri_prefix": "DOC:"}, set()),
            ({"uri_prefix": "%"}, set()),
        ):
            assert {row["uri"] for row in (await api.get(f"{PROJECT}/sources", **params))["items"]} == expected
        assert (await api.post(f"{PROJECT}/sources/prune"))["pruned"] == 1
        assert await api.get(source_path("doc:a")) == next(row for row in listed if row["uri"] == "doc:a")
        problem_of(await api.client.get(source_path("doc:b")), 404, "not-found")

    async def test_one_is_deleted_with_its_facts_and_their_vectors(self, api: Api) -> None:
        await api.replaced([fact("a", "x"), fact("a", "y"), fact("b", "z")])
        await api.work()
        assert (await api.delete(source_path("a")))["deleted"] == 2
        await api.work()
        assert await stored(api) == {("b", "z", None)}
        found = await api.post(f"{PROJECT}/search", {"query": "x"})
        assert [hit["extraction"]["source"]["uri"] for hit in found["items"]] == ["b"]
        kinds = [change["kind"] for change in (await api.get(f"{source_path('a')}/history"))["items"]]
        assert kinds == ["source_deleted", "removed", "removed", "added", "added"]

    async def test_those_of_another_project_are_none(self, api: Api) -> None:
        await api.replaced([fact("a", "x")], project="other")
        await api.replaced([fact("b", "x")])
        theirs = source_id_of(project_id_of("other"), "a")
        for response in (
            await api.client.get(f"{PROJECT}/sources/{theirs}"),
            await api.client.delete(f"{PROJECT}/sources/{theirs}"),
            await api.client.get(f"{PROJECT}/sources/{theirs}/history"),
            await api.client.get("/v1/projects/none/sources"),
        ):
            problem_of(response, 404, "not-found")


class TestRuns:
    async def test_a_run_is_undone(self, api: Api) -> None:
        first = [fact("a", "35 euro", confidence=0.5), fact("a", "red"), fact("b", "old")]
        await api.replaced(first, run="night 1")
        await api.work()
        before = await stored(api)
        now = [fact("a", "36 euro"), fact("a", "red", confidence=0.9), gone("b"), fact("c", "new")]
        await api.replaced(now, run="night 2")
        await api.work()
        undone = await api.post(f"{PROJECT}/runs/night 2/undo")
        assert (undone["added"], undone["changed"], undone["removed"]) == (2, 1, 2)
        assert undone["left_alone"] == {"count": 0, "items": []}
        await api.work()
        assert await stored(api) == before
        hits = (await api.post(f"{PROJECT}/search", {"query": "euro"}))["items"]
        assert {hit["extraction"]["data"]["fact_text"] for hit in hits} == {"35 euro", "red", "old"}
        problem_of(await api.client.get(source_path("c")), 404, "not-found")
        again = await api.post(f"{PROJECT}/runs/{undone['run']}/undo")
        assert (again["added"], again["changed"], again["removed"]) == (0, 0, 0)
        await api.post(f"{PROJECT}/runs/{undone['undone_by']}/undo")
        assert {text for _, text, _ in await stored(api)} == {"36 euro", "red", "new"}

    async def test_what_was_touched_later_is_left_alone(self, api: Api) -> None:
        await api.replaced([fact("a", "x"), fact("b", "y")], run="one")
        await api.accepted([fact("a", "x")], params={"run": "two"})
        undone = await api.post(f"{PROJECT}/runs/one/undo")
        assert undone["removed"] == 1
        [left] = undone["left_alone"]["items"]
        assert left["source_id"] == str(source_id_of(project_id_of("papers"), "a"))
        assert await stored(api) == {("a", "x", None)}

    async def test_one_is_begun_used_and_ended(self, api: Api) -> None:
        run = await api.post(f"{PROJECT}/runs", {"name": "crawl", "metadata": {"model": "m"}}, status=201)
        await api.accepted([fact("a", "x")], params={"run": run["id"]})
        await api.replaced([fact("a", "y"), fact("a", "x")], run=run["id"])
        ended = await api.post(f"{PROJECT}/runs/{run['id']}/end")
        assert (ended["added"], ended["unchanged"], ended["metadata"]) == (2, 1, {"model": "m"})
        assert ended["ended_at"] is not None
        refused = await api.hand_in([fact("a", "z")], params={"run": run["id"]})
        problem_of(refused, 409, "run-ended")
        changes = await every_page(api, f"{PROJECT}/runs/crawl/changes", limit=1)
        assert [change["kind"] for change in changes] == ["added", "added"]
        listed = await every_page(api, f"{PROJECT}/runs", limit=1)
        assert [row["name"] for row in listed] == ["crawl"]

    async def test_unknown_ones_are_refused(self, api: Api) -> None:
        theirs = await api.replaced([fact("a", "x")], project="other", run="theirs")
        await api.replaced([fact("a", "x")])
        for run in ("theirs", theirs["run_id"], uuid4()):
            for response in (
                await api.client.get(f"{PROJECT}/runs/{run}"),
                await api.client.get(f"{PROJECT}/runs/{run}/changes"),
                await api.client.post(f"{PROJECT}/runs/{run}/undo"),
            ):
                problem_of(response, 404, "not-found")
        for body in ({"name": ""}, {"name": "x", "metadata": {"x": "y" * 70_000}}, {"name": "x", "more": 1}):
            problem_of(await api.client.post(f"{PROJECT}/runs", json=body), 422, "invalid-input")


class TestChanges:
    async def test_history_tells_of_what_is_gone_too(self, api: Api) -> None:
        await api.replaced([fact("a", "x", confidence=0.1)])
        [item] = (await api.get(f"{PROJECT}/extractions"))["items"]
        await api.replaced([fact("a", "x", confidence=0.2)])
        await api.replaced([gone("a")])
        history = await api.get(f"/v1/extractions/{item['id']}/history")
        assert [change["kind"] for change in history["items"]] == ["removed", "changed", "added"]
        assert history["items"][0]["before"]["data"] == {"fact_text": "x"}
        assert history["items"][1]["before"] == {"confidence": 0.1, "metadata": None}
        assert history["whole"] is True
        assert await every_page(api, f"/v1/extractions/{item['id']}/history", limit=1) == history["items"]
        problem_of(await api.client.get(f"/v1/extractions/{uuid4()}/history"), 404, "not-found")

    async def test_the_feed_has_each_change_once_however_it_is_cut(self, api: Api) -> None:
        await api.replaced([fact("a", f"{n}") for n in range(5)] + [fact("b", "x", source_group="g")])
        await api.replaced([fact("a", "1", confidence=0.5), fact("a", "new"), fact("b", "x", source_group="h")])
        whole = await api.get(f"{PROJECT}/changes", limit=1_000)
        assert whole["more"] is False
        for limit in (1, 2, 3):
            page = await api.get(f"{PROJECT}/changes", limit=limit)
            items = list(page["items"])
            while page["more"]:
                page = await api.get(f"{PROJECT}/changes", limit=limit, after=page["cursor"])
                items += page["items"]
            assert items == whole["items"]
            assert page["cursor"] == whole["cursor"]
        assert (await api.get(f"{PROJECT}/changes", after=whole["cursor"]))["items"] == []
        kinds = [change["kind"] for change in whole["items"]]
        assert kinds == ["added"] * 6 + ["removed"] * 4 + ["changed", "added", "regrouped"]
        assert whole["items"][0]["extraction"] is None, "it is gone"

    async def test_events_go_on_after_the_last_that_was_taken(self, api: Api) -> None:
        await api.replaced([fact("a", f"{n}") for n in range(3)])
        first = await events(api, 2)
        assert [event["kind"] for _, event in first] == ["added", "added"]
        following = asyncio.ensure_future(events(api, 2, {"last-event-id": first[-1][0]}))
        await asyncio.sleep(0.2)
        await api.accepted([fact("b", "later")])
        rest = await following
        assert [event["extraction"]["source"]["uri"] for _, event in rest] == ["a", "b"]
        numbers = [(event["number"], event["extraction_id"]) for _, event in first + rest]
        assert len(set(numbers)) == 4

    async def test_what_is_pruned_is_said(self, api: Api, engine: Engine) -> None:
        await api.replaced([fact("a", "x")], run="one")
        cursor = (await api.get(f"{PROJECT}/changes", limit=1))["cursor"]
        await api.replaced([fact("a", "y")])
        await api.replaced([fact("a", "z")])
        with Session(engine) as session, session.begin():
            session.execute(update(Project).values(pruned_through=2))
        for headers in ({}, EVENTS):
            response = await api.client.get(f"{PROJECT}/changes", params={"after": cursor}, headers=headers)
            problem_of(response, 410, "history-pruned")
        problem_of(await api.client.post(f"{PROJECT}/runs/one/undo"), 410, "history-pruned")
        begun = await api.get(f"{PROJECT}/changes", limit=1)
        assert (begun["whole"], begun["items"][0]["number"]) == (False, 3)
        assert (await api.get(f"{PROJECT}/changes", after=begun["cursor"]))["whole"] is True

    async def test_a_cursor_of_another_project_is_refused(self, api: Api) -> None:
        await api.replaced([fact("a", "x")])
        await api.replaced([fact("a", "x")], project="other")
        cursor = (await api.get("/v1/projects/other/changes"))["cursor"]
        for wrong in (cursor, "x", "WzFd"):
            response = await api.client.get(f"{PROJECT}/changes", params={"after": wrong})
            problem_of(response, 422, "invalid-input")
        problem_of(await api.client.get("/v1/projects/none/changes"), 404, "not-found")


async def events(api: Api, count: int, headers: dict[str, str] | None = None) -> list[tuple[str, Any]]:
    """The first events of a stream, with their ids."""
    found: list[tuple[str, Any]] = []
    async with (
        asyncio.timeout(PATIENCE_S),
        api.client.stream("GET", f"{PROJECT}/changes", headers={**EVENTS, **(headers or {})}) as response,
    ):
        assert response.status_code == 200
        id_ = ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                id_ = value
            elif name == "data":
                found.append((id_, orjson.loads(value)))
                if len(found) == count:
                    break
    return found


async def test_a_run_of_a_project_that_is_none(api: Api) -> None:
    for path in ("runs", "sources", "changes"):
        problem_of(await api.client.get(f"/v1/projects/none/{path}"), 404, "not-found")
    checked(await api.client.get("/v1/projects"), 200)
