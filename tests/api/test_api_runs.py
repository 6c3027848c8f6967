"""Runs over HTTP: begun, ended, looked at and undone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from support.api import Api, problem_of, serving
from support.facts import replaced

from app.api.schemas.runs import MOST_LEFT_ALONE, UndoneAnswer
from app.database import Database
from app.domain.cursors import write_cursor
from app.domain.ids import RunId, SourceId, project_id_of
from app.domain.outcomes import LeftAlone, Undone
from app.services.storage.repositories.ledger import LedgerRepository

PATH = "/v1/projects/papers/runs"


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


async def begun(api: Api, name: str = "crawl", **body: Any) -> RunId:
    """A run that was begun; its id."""
    return RunId(UUID((await api.post(PATH, {"name": name, **body}, 201))["id"]))


async def texts(api: Api) -> set[str]:
    """What the project's extractions say."""
    page = await api.get("/v1/projects/papers/extractions")
    return {each["data"]["fact_text"] for each in page["items"]}


class TestRuns:
    async def test_one_is_begun_and_ended(self, api: Api) -> None:
        run = await api.post(PATH, {"name": "crawl", "metadata": {"model": "m1"}}, 201)
        assert (run["name"], run["metadata"], run["ended_at"]) == ("crawl", {"model": "m1"}, None)
        assert (run["added"], run["changed"], run["unchanged"], run["removed"]) == (0, 0, 0, 0)
        assert run["begun_at"].endswith("Z")
        ended = await api.post(f"{PATH}/{run['id']}/end")
        assert {**ended, "ended_at": None} == run
        assert ended["ended_at"]
        assert await api.post(f"{PATH}/{run['id']}/end") == ended

    async def test_one_is_shown_by_id_and_by_the_newest_of_its_name(self, api: Api) -> None:
        older, newer, other = await begun(api), await begun(api), await begun(api, "other")
        assert (await api.get(f"{PATH}/crawl"))["id"] == str(newer)
        assert (await api.get(f"{PATH}/{older}"))["id"] == str(older)
        assert (await api.get(f"{PATH}/other"))["id"] == str(other)

    async def test_it_counts_what_was_changed_under_it(self, api: Api) -> None:
        run = await begun(api)
        await replaced(api.container, "doc:1", "one", "two", "three")
        await replaced(api.container, "doc:1", "two", "three", "four", run_id=run)
        shown = await api.get(f"{PATH}/{run}")
        assert (shown["added"], shown["changed"], shown["unchanged"], shown["removed"]) == (1, 0, 2, 1)

    async def test_pages_are_complete_the_newest_first(self, api: Api) -> None:
        made = [str(await begun(api, f"run {number}")) for number in range(7)]
        for limit in (1, 3, 7, 100):
            page = await api.get(PATH, limit=limit)
            found = page["items"]
            while page["next_cursor"]:
                page = await api.get(PATH, limit=limit, cursor=page["next_cursor"])
                found += page["items"]
            assert [each["id"] for each in found] == made[::-1]

    async def test_what_is_not_there_is_not_found(self, api: Api) -> None:
        run = await begun(api)
        await api.post("/v1/projects", {"name": "other"}, 201)
        for place in (f"other/runs/{run}", f"none/runs/{run}", f"papers/runs/{uuid4()}", "papers/runs/none"):
            path = f"/v1/projects/{place}"
            problem_of(await api.client.get(path), 404, "not-found")
            problem_of(await api.client.get(f"{path}/changes"), 404, "not-found")
            problem_of(await api.client.post(f"{path}/undo"), 404, "not-found")
        for place in (f"other/runs/{run}", f"papers/runs/{uuid4()}"):
            problem_of(await api.client.post(f"/v1/projects/{place}/end"), 404, "not-found")
        problem_of(await api.client.get("/v1/projects/none/runs"), 404, "not-found")
        assert (await api.get(f"{PATH}/{run}"))["ended_at"] is None

    async def test_a_body_that_is_none_is_refused(self, api: Api) -> None:
        bodies: list[tuple[dict[str, Any], str]] = [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"name": "a\0b"}, "name"),
            ({"name": 1}, "name"),
            ({"name": "crawl", "metadata": []}, "metadata"),
            ({"name": "crawl", "metadata": {"text": "x" * 70_000}}, "metadata"),
            ({"name": "crawl", "meta": {}}, "meta"),
        ]
        for body, field in bodies:
            answer = await api.client.post(PATH, json=body)
            assert problem_of(answer, 422, "invalid-input")["field"] == field
        problem_of(await api.client.post(PATH, json={"name": "  "}), 422, "invalid-input")
        problem_of(await api.client.post("/v1/projects/a b/runs", json={"name": "x"}), 422, "invalid-input")

    async def test_a_parameter_that_is_none_is_refused(self, api: Api) -> None:
        run = await begun(api)
        for path, params in (
            (PATH, {"cursor": "nonsense"}),
            (PATH, {"cursor": "WyJ4IiwieSJd"}),
            (PATH, {"limit": "0"}),
            (PATH, {"name": "crawl"}),
            (f"{PATH}/{run}/changes", {"cursor": "nonsense"}),
            (f"{PATH}/{run}/changes", {"after": "nonsense"}),
        ):
            answer = await api.client.get(path, params=params)
            assert problem_of(answer, 422, "invalid-input")["field"] == next(iter(params))
        answer = await api.client.post(f"{PATH}/crawl/end")
        assert problem_of(answer, 422, "invalid-input")["field"] == "run"

    async def test_a_cursor_from_the_ends_of_time_is_no_fault(self, api: Api) -> None:
        await begun(api)
        for moment in ("0001-01-01T00:00:00.0+14:00", "9999-12-31T23:59:59.999999-14:00"):
            answer = await api.client.get(PATH, params={"cursor": write_cursor(moment, str(uuid4()))})
            assert answer.status_code in {200, 422}, (moment, answer.text)


class TestChanges:
    async def test_they_tell_what_a_run_changed(self, api: Api) -> None:
        await replaced(api.container, "doc:1", "one", "two", group="a")
        run = await begun(api)
        await replaced(api.container, "doc:1", "two", "three", group="b", confidence=0.5, run_id=run)
        await replaced(api.container, "doc:2", "four")
        told = await api.get(f"{PATH}/crawl/changes")
        kinds = sorted(each["kind"] for each in told["items"])
        assert kinds == ["added", "changed", "regrouped", "removed"]
        assert {each["run_id"] for each in told["items"]} == {str(run)}
        assert (told["next_cursor"], told["whole"]) == (None, True)
        of = {each["kind"]: each for each in told["items"]}
        assert of["removed"]["before"]["data"] == {"fact_text": "one"}
        assert of["removed"]["extraction"] is None
        assert of["changed"]["before"] == {"confidence": None, "metadata": None}
        assert of["changed"]["extraction"]["confidence"] == 0.5
        assert of["added"]["extraction"]["data"] == {"fact_text": "three"}
        assert of["regrouped"]["before"] == {"group": "a"}
        assert of["regrouped"]["extraction_id"] is None

    async def test_pages_are_complete(self, api: Api) -> None:
        run = await begun(api)
        for number in range(5):
            await replaced(api.container, f"doc:{number}", "one", "two", run_id=run)
        whole = (await api.get(f"{PATH}/{run}/changes"))["items"]
        assert len(whole) == 10
        page = await api.get(f"{PATH}/{run}/changes", limit=3)
        found = page["items"]
        while page["next_cursor"]:
            page = await api.get(f"{PATH}/{run}/changes", limit=3, cursor=page["next_cursor"])
            found += page["items"]
        assert found == whole


class TestUndo:
    async def test_everything_is_put_back_and_may_come_again(self, api: Api) -> None:
        await replaced(api.container, "doc:1", "one", "two")
        run = await begun(api)
        await replaced(api.container, "doc:1", "two", "three", run_id=run)
        undone = await api.post(f"{PATH}/crawl/undo")
        assert (undone["run"], undone["added"], undone["removed"]) == (str(run), 1, 1)
        assert undone["left_alone"] == {"count": 0, "items": []}
        assert undone["jobs"]
        assert await texts(api) == {"one", "two"}
        by = await api.get(f"{PATH}/{undone['undone_by']}")
        assert (by["undoes"], by["name"]) == (str(run), "undo of crawl")
        assert by["ended_at"]
        assert (await api.get(f"{PATH}/{run}"))["ended_at"]
        again = await api.post(f"{PATH}/{undone['undone_by']}/undo")
        assert (again["added"], again["removed"]) == (1, 1)
        assert await texts(api) == {"two", "three"}

    async def test_what_was_touched_later_is_left_alone_and_listed(self, api: Api) -> None:
        run = await begun(api)
        await replaced(api.container, "doc:1", "one", "two", run_id=run)
        await replaced(api.container, "doc:1", "one", "two", confidence=0.5)
        undone = await api.post(f"{PATH}/{run}/undo")
        assert (undone["added"], undone["removed"], undone["jobs"]) == (0, 0, [])
        left = undone["left_alone"]
        assert left["count"] == len(left["items"]) == 2
        kept = (await api.get("/v1/projects/papers/extractions"))["items"]
        assert {each["extraction_id"] for each in left["items"]} == {each["id"] for each in kept}

    def test_of_what_is_left_alone_the_first_are_listed(self) -> None:
        left = [LeftAlone(SourceId(uuid4()), None) for _ in range(MOST_LEFT_ALONE + 5)]
        undone = Undone(project_id_of("papers"), RunId(uuid4()), RunId(uuid4()), left_alone=left)
        told = UndoneAnswer.of(undone).left_alone
        assert (told.count, len(told.items)) == (MOST_LEFT_ALONE + 5, MOST_LEFT_ALONE)
        assert told.items[0].source_id == left[0].source_id

    async def test_what_the_ledger_lost_cannot_be_undone(self, api: Api, database: Database) -> None:
        run = await begun(api)
        await replaced(api.container, "doc:1", "one", run_id=run)
        project = project_id_of("papers")
        await database.write(lambda session: LedgerRepository(session).prune(project, older_than_s=-60))
        problem_of(await api.client.post(f"{PATH}/{run}/undo"), 410, "history-pruned")
        assert await texts(api) == {"one"}
        assert not (await api.get(f"{PATH}/{run}/changes"))["whole"]
