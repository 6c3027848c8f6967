"""Projects over HTTP."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support.api import Api, problem_of, raw_item, serving

from app.domain.cursors import write_cursor


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


def names_of(page: dict[str, Any]) -> list[str]:
    return [each["name"] for each in page["items"]]


async def pages(api: Api, limit: int) -> list[list[str]]:
    """The names on each page that holds any."""
    found: list[list[str]] = []
    page = await api.get("/v1/projects", limit=limit)
    while page["next_cursor"] is not None:
        assert len(page["items"]) == limit
        assert names_of(page) not in found, "it goes round in circles"
        found.append(names_of(page))
        page = await api.get("/v1/projects", limit=limit, cursor=page["next_cursor"])
    return [*found, names_of(page)] if page["items"] else found


async def test_a_project_is_made_shown_listed_and_deleted(api: Api) -> None:
    made = await api.post("/v1/projects", {"name": "papers"}, 201)
    assert (made["name"], made["sources"], made["extractions"], made["indexed"]) == ("papers", 0, 0, 0)
    await api.post("/v1/projects", {"name": "archive"}, 201)
    assert await api.get("/v1/projects/papers") == made
    assert names_of(await api.get("/v1/projects")) == ["archive", "papers"]

    gone = await api.delete("/v1/projects/papers")
    assert gone == {"deleted": 0, "jobs": [], "waited": None, "dry_run": False, "warnings": []}
    problem_of(await api.client.get("/v1/projects/papers"), 404, "not-found")
    assert names_of(await api.get("/v1/projects")) == ["archive"]


async def test_projects_are_listed_by_name_page_by_page(api: Api) -> None:
    names = [f"p{number:02}" for number in range(12)]
    for name in reversed(names):
        await api.post("/v1/projects", {"name": name}, 201)
    for limit in (1, 4, 5, 12, 100):
        assert await pages(api, limit) == [names[start : start + limit] for start in range(0, 12, limit)]


async def test_projects_that_come_and_go_meanwhile_move_no_other_to_another_page(api: Api) -> None:
    for name in ("b", "d", "f", "h"):
        await api.post("/v1/projects", {"name": name}, 201)
    first = await api.get("/v1/projects", limit=2)
    await api.delete("/v1/projects/d")  # the one that the cursor names
    for name in ("a", "e"):
        await api.post("/v1/projects", {"name": name}, 201)
    rest = await api.get("/v1/projects", cursor=first["next_cursor"])
    assert (names_of(first), names_of(rest)) == (["b", "d"], ["e", "f", "h"])


async def test_pages_count_what_each_project_holds(api: Api) -> None:
    for number, name in enumerate(("a", "b", "c"), start=1):
        await api.accepted([raw_item(n) for n in range(2 * number)], project=name)
    page = await api.get("/v1/projects", limit=2)
    rest = await api.get("/v1/projects", limit=2, cursor=page["next_cursor"])
    found = [(each["sources"], each["extractions"], each["indexed"]) for each in page["items"] + rest["items"]]
    assert found == [(1, 2, 0), (2, 4, 0), (3, 6, 0)]


async def test_every_name_is_on_one_page_whatever_the_database_sorts_by(api: Api) -> None:
    names = ["B", "a", "A", "a-b", "a.b", "a_b", "ab", "aB", "Ab", "0", "9z", "z", "Z", "a" * 100]
    for name in names:
        await api.post("/v1/projects", {"name": name}, 201)
    found = [name for page in await pages(api, 3) for name in page]
    assert sorted(found) == sorted(names)


async def test_a_place_in_the_list_that_is_none_is_refused(api: Api) -> None:
    for params in (
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "x"},
        {"cursor": ""},
        {"cursor": "nonsense"},
        {"cursor": "!!"},
        {"cursor": "ü"},
        {"cursor": "papers"},
        {"cursor": "WzFd"},
        {"cursor": write_cursor()},
        {"cursor": write_cursor("a", "b")},
        {"cursor": write_cursor("")},
        {"cursor": write_cursor("no name")},
        {"cursor": write_cursor("a\0")},
        {"cursor": write_cursor("a" * 101)},
    ):
        told = problem_of(await api.client.get("/v1/projects", params=params), 422, "invalid-input")
        assert told["field"] == next(iter(params)), params


async def test_handing_in_makes_the_project_by_need(api: Api) -> None:
    await api.accepted([raw_item(n) for n in range(4)])
    await api.work()
    shown = await api.get("/v1/projects/papers")
    assert (shown["sources"], shown["extractions"], shown["indexed"]) == (2, 4, 4)


async def test_a_taken_name_is_a_conflict(api: Api) -> None:
    await api.post("/v1/projects", {"name": "papers"}, 201)
    again = await api.client.post("/v1/projects", json={"name": "papers"})
    assert "papers" in problem_of(again, 409, "conflict")["detail"]


async def test_what_is_no_name_is_refused(api: Api) -> None:
    for name in ("", ".", "a b", "ü", "a" * 101, "x\n", "../etc", "a\0b", 5, None):
        refused = await api.client.post("/v1/projects", json={"name": name})
        assert problem_of(refused, 422, "invalid-input")["field"] == "name"


async def test_what_is_no_name_is_refused_in_every_path(api: Api) -> None:
    for name in ("a%20b", "%C3%BC", "a" * 101, "a%00b", "%ED%A0%80", "%FF"):
        for answer in (
            await api.client.get(f"/v1/projects/{name}"),
            await api.client.delete(f"/v1/projects/{name}"),
            await api.client.get(f"/v1/projects/{name}/extractions"),
            await api.client.post(f"/v1/projects/{name}/extractions/delete", json={"ids": []}),
            await api.client.post(f"/v1/projects/{name}/search", json={"query": "river"}),
            await api.hand_in([raw_item(1)], project=name),
            await api.hand_in([raw_item(1)], project=name, lines=True),
        ):
            assert problem_of(answer, 422, "invalid-input")["field"] == "name"


async def test_nothing_is_known_of_a_project_that_is_not_there(api: Api) -> None:
    for answer in (
        await api.client.get("/v1/projects/none"),
        await api.client.delete("/v1/projects/none"),
        await api.client.get("/v1/projects/none/extractions"),
        await api.client.post("/v1/projects/none/extractions/delete", json={"ids": []}),
        await api.client.post("/v1/projects/none/search", json={"query": "river"}),
        await api.client.post("/v1/verify", json={"project": "none"}),
    ):
        assert "none" in problem_of(answer, 404, "not-found")["detail"]
    assert (await api.get("/v1/jobs", project="none"))["items"] == []


async def test_deleting_a_project_deletes_its_vectors(api: Api) -> None:
    await api.accepted([raw_item(n) for n in range(5)])
    await api.accepted([raw_item(n) for n in range(3)], project="kept")
    await api.work()
    gone = await api.delete("/v1/projects/papers")
    assert (gone["deleted"], len(gone["jobs"])) == (5, 1)
    problem_of(await api.client.post("/v1/projects/papers/search", json={"query": "river"}), 404, "not-found")
    await api.work()
    assert (await api.get(f"/v1/jobs/{gone['jobs'][0]}"))["status"] == "completed"
    assert await api.container.qdrant_repository().count() == 3
    assert len((await api.post("/v1/projects/kept/search", {"query": "river"}))["items"]) == 3
