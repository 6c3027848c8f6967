"""Sources over HTTP: listed, shown, deleted and pruned, and what became of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine
from support.api import Api, problem_of, serving
from support.facts import replaced

PATH = "/v1/projects/papers/sources"
AN_ID = "6f9619ff-8b86-5011-b42d-00c04fc964ff"


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


async def ids_of(api: Api, *uris: str, **options: Any) -> list[str]:
    """Make sources of one fact each; their ids."""
    found = [await replaced(api.container, uri, f"what {uri} says", **options) for uri in uris]
    return [str(each.sources[0].source_id) for each in found]


class TestLooking:
    async def test_a_source_is_shown_as_it_stands(self, api: Api) -> None:
        await replaced(api.container, "doc:1", "one", "two", group="a")
        [shown] = (await api.get(PATH))["items"]
        assert (shown["uri"], shown["group"], shown["extractions"], shown["gone"]) == ("doc:1", "a", 2, False)
        assert shown["created_at"].endswith("Z")
        assert shown["observed_at"].endswith("Z")
        assert await api.get(f"{PATH}/{shown['id']}") == shown

    async def test_filters_pass_what_fits(self, api: Api) -> None:
        await ids_of(api, "web/1", "web/2", group="a")
        await ids_of(api, "web/3", "file/1", group="b")
        await replaced(api.container, "web/2")
        cases: list[tuple[dict[str, Any], set[str]]] = [
            ({}, {"web/1", "web/2", "web/3", "file/1"}),
            ({"source_groups": "a"}, {"web/1", "web/2"}),
            ({"uri_prefix": "web/"}, {"web/1", "web/2", "web/3"}),
            ({"uri_prefix": "WEB/"}, set()),
            ({"gone": "true"}, {"web/2"}),
            ({"gone": "false", "source_groups": "a"}, {"web/1"}),
            ({"source_groups": "c"}, set()),
            ({"source_groups": ["a", "b"], "gone": "false"}, {"web/1", "web/3", "file/1"}),
        ]
        for filters, uris in cases:
            page = await api.get(PATH, **filters)
            assert {each["uri"] for each in page["items"]} == uris, filters
            assert page["next_cursor"] is None

    async def test_pages_are_complete(self, api: Api) -> None:
        made = await ids_of(api, *(f"doc:{number}" for number in range(7)))
        for limit in (1, 3, 7, 100):
            found: list[str] = []
            cursor: dict[str, str] = {}
            while True:
                page = await api.get(PATH, limit=limit, **cursor)
                found += [each["id"] for each in page["items"]]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert found == sorted(made)

    async def test_what_is_not_there_is_not_found(self, api: Api) -> None:
        [source] = await ids_of(api, "doc:1")
        await replaced(api.container, "doc:1", "something", project="other")
        for name, id_ in (("papers", AN_ID), ("other", source), ("none", source)):
            path = f"/v1/projects/{name}/sources/{id_}"
            problem_of(await api.client.get(path), 404, "not-found")
            problem_of(await api.client.delete(path), 404, "not-found")
            problem_of(await api.client.get(f"{path}/history"), 404, "not-found")
        problem_of(await api.client.get("/v1/projects/none/sources"), 404, "not-found")
        problem_of(await api.client.post("/v1/projects/none/sources/prune"), 404, "not-found")
        assert (await api.get(f"{PATH}/{source}"))["extractions"] == 1

    async def test_what_makes_no_sense_is_refused(self, api: Api) -> None:
        [source] = await ids_of(api, "doc:1")
        for params in (
            {"source_groups": ""},
            {"source_groups": "a\0"},
            {"group": "a"},
            {"uri_prefix": "\0"},
            {"gone": "perhaps"},
            {"limit": "0"},
            {"limit": "1001"},
            {"cursor": "nonsense"},
            {"cursor": "WyJ4Il0"},
            {"prefix": "web/"},
        ):
            answer = await api.client.get(PATH, params=params)
            field = problem_of(answer, 422, "invalid-input")["field"]
            assert field.removesuffix(".0") == next(iter(params))
        for cursor in ("nonsense", "WyJ4Il0", "WyItMSJd", "WyI5OTk5OTk5OTk5OTk5OTk5OTk5OTkiXQ"):
            answer = await api.client.get(f"{PATH}/{source}/history", params={"cursor": cursor})
            assert problem_of(answer, 422, "invalid-input")["field"] == "cursor"
        answer = await api.client.get(f"{PATH}/nonsense")
        assert problem_of(answer, 422, "invalid-input")["field"] == "source_id"


class TestDeleting:
    async def test_a_source_goes_with_its_extractions(self, api: Api) -> None:
        await replaced(api.container, "doc:1", "one", "two")
        [kept] = await ids_of(api, "doc:2")
        [gone] = [each["id"] for each in (await api.get(PATH))["items"] if each["id"] != kept]
        await api.work()
        deleted = await api.delete(f"{PATH}/{gone}")
        assert deleted["deleted"] == 2
        [job] = deleted["jobs"]
        assert (await api.get(f"/v1/jobs/{job}"))["type"] == "delete_vectors"
        assert [each["id"] for each in (await api.get(PATH))["items"]] == [kept]
        problem_of(await api.client.delete(f"{PATH}/{gone}"), 404, "not-found")

    async def test_those_without_extractions_are_pruned(self, api: Api) -> None:
        await ids_of(api, "doc:1", "doc:2", "doc:3")
        for uri in ("doc:1", "doc:3"):
            await replaced(api.container, uri)
        assert await api.post(f"{PATH}/prune") == {"pruned": 2}
        assert await api.post(f"{PATH}/prune") == {"pruned": 0}
        assert [each["uri"] for each in (await api.get(PATH))["items"]] == ["doc:2"]


class TestHistory:
    async def test_it_tells_all_the_newest_first(self, api: Api) -> None:
        await replaced(api.container, "doc:1", "one", group="a")
        await replaced(api.container, "doc:1", "two", group="b")
        [source] = (await api.get(PATH))["items"]
        await api.delete(f"{PATH}/{source['id']}")
        told = await api.get(f"{PATH}/{source['id']}/history")
        kinds = [each["kind"] for each in told["items"]]
        assert kinds[:2] == ["source_deleted", "removed"]
        assert sorted(kinds[2:5]) == ["added", "regrouped", "removed"]
        assert (kinds[-1], told["next_cursor"], told["whole"]) == ("added", None, True)
        assert {each["source_id"] for each in told["items"]} == {source["id"]}
        removed = [each["before"]["data"]["fact_text"] for each in told["items"] if each["kind"] == "removed"]
        assert removed == ["two", "one"]

    async def test_its_pages_are_complete(self, api: Api) -> None:
        for number in range(5):
            await replaced(api.container, "doc:1", f"version {number}")
        [source] = (await api.get(PATH))["items"]
        whole = (await api.get(f"{PATH}/{source['id']}/history"))["items"]
        page = await api.get(f"{PATH}/{source['id']}/history", limit=1)
        found = page["items"]
        while page["next_cursor"]:
            assert not page["whole"]
            page = await api.get(f"{PATH}/{source['id']}/history", limit=1, cursor=page["next_cursor"])
            found += page["items"]
        assert page["whole"]
        assert found == whole
        assert len(whole) == 9

    async def test_an_extraction_has_its_own_also_when_it_is_gone(self, api: Api) -> None:
        await replaced(api.container, "doc:1", "one", "two")
        [first, second] = (await api.get("/v1/projects/papers/extractions"))["items"]
        await replaced(api.container, "doc:1", first["data"]["fact_text"])
        told = await api.get(f"/v1/extractions/{second['id']}/history")
        assert [each["kind"] for each in told["items"]] == ["removed", "added"]
        assert told["whole"]
        assert {each["extraction_id"] for each in told["items"]} == {second["id"]}
        assert told["items"][0]["before"]["data"] == second["data"]
        kept = await api.get(f"/v1/extractions/{first['id']}/history")
        assert [each["kind"] for each in kept["items"]] == ["added"]
        problem_of(await api.client.get(f"/v1/extractions/{uuid4()}/history"), 404, "not-found")
