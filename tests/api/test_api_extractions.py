"""Handing extractions in over HTTP, reading, finding and deleting them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from support.api import Api, checked, ndjson, problem_of, raw_item, serving
from support.waiting import until
from support.wheres import where_json

from app.api.bodies import NDJSON
from app.models import Extraction, Job
from app.services.storage.repositories.extraction import ExtractionRepository

PATH = "/v1/projects/papers/extractions"
BAD_VALUES = (
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9223372036854775808",
    b"1" * 5_000,
    b'"\\ud800"',
    b'"\\u0000"',
    b'{"\\udfff": 1}',
    b'{"\\u0000": 1}',
    b"[" * 100 + b"]" * 100,
)
FILTERS: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = [
    ({"extraction_types": "fact"}, lambda item: item["extraction_type"] == "fact"),
    ({"extraction_types": ["fact", "claim"]}, lambda _: True),
    ({"extraction_types": "none"}, lambda _: False),
    ({"source_groups": ["group-0", "group-2"]}, lambda item: item["source_group"] != "group-1"),
    ({"min_confidence": 0.3, "max_confidence": 0.7}, lambda item: 0.3 <= item["confidence"] <= 0.7),
    ({"where": "n=5"}, lambda item: item["data"]["n"] == 5),
    ({"where": ["n=5", "fact_text=x"]}, lambda _: False),
    ({"where": ["n=5", "n=6"]}, lambda _: False),
    ({"where": ["n=5", "n=5.0"]}, lambda item: item["data"]["n"] == 5),
    ({"where": "n in (5, 6)"}, lambda item: item["data"]["n"] in {5, 6}),
    (
        {"where": "type = fact or confidence >= 0.5"},
        lambda item: item["extraction_type"] == "fact" or item["confidence"] >= 0.5,
    ),
    ({"where": 'fact_text="glacier river 5"'}, lambda item: item["data"]["n"] == 5),
    ({"where": "missing=null"}, lambda _: False),
]
KINDS_OF_BAD_VALUES = {"invalid-input", "invalid-json", "nested-too-deep"}
LINES = {"content-type": NDJSON}


@pytest.fixture
async def api(tmp_path: Path, engine: Engine) -> AsyncIterator[Api]:
    async with serving(tmp_path, engine=engine) as api:
        yield api


def stored(engine: Engine) -> int:
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(Extraction)) or 0


def queued(engine: Engine) -> int:
    with Session(engine) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


async def pages(api: Api, limit: int, **filters: Any) -> list[dict[str, Any]]:
    """Every extraction, read page by page."""
    found: list[dict[str, Any]] = []
    page = await api.get(PATH, limit=limit, **filters)
    while page["next_cursor"] is not None:
        assert len(page["items"]) == limit
        found += page["items"]
        page = await api.get(PATH, limit=limit, cursor=page["next_cursor"], **filters)
    return [*found, *page["items"]]


class TestHandingIn:
    @pytest.mark.parametrize("lines", [False, True])
    async def test_each_item_gets_its_id_and_whether_it_was_new(
        self, api: Api, engine: Engine, lines: bool
    ) -> None:
        items = [raw_item(n) for n in range(120)]
        first = await api.accepted(items, lines=lines)
        assert (first["new"], first["known"], len(first["items"])) == (120, 0, 120)
        assert all(each["new"] for each in first["items"])
        assert len(first["jobs"]) == (3 if lines else 1), "a batch has 50 lines"
        assert first["job_id"] == first["jobs"][-1]

        again = await api.accepted([*items[:60], raw_item(120)], lines=not lines)
        assert [each["id"] for each in again["items"][:60]] == [each["id"] for each in first["items"][:60]]
        assert [each["new"] for each in again["items"]] == [False] * 60 + [True]
        assert (again["new"], again["known"], len(again["jobs"])) == (1, 60, 1)
        assert stored(engine) == 121

        nothing = await api.accepted(items[:3], lines=lines)
        assert (nothing["changed"], nothing["jobs"], nothing["job_id"]) == (0, [], None)

    @pytest.mark.parametrize("lines", [False, True])
    async def test_each_item_says_whether_it_was_changed(self, api: Api, lines: bool) -> None:
        await api.accepted([raw_item(n) | {"confidence": 0.5} for n in range(3)])
        again = [raw_item(0) | {"confidence": 0.6}, raw_item(1) | {"confidence": 0.5}, raw_item(3)]
        answer = await api.accepted(again, lines=lines)
        assert [each["changed"] for each in answer["items"]] == [True, False, False]
        assert (answer["new"], answer["known"], answer["changed"], len(answer["jobs"])) == (1, 2, 1, 2)

    @pytest.mark.slow
    async def test_what_was_handed_in_is_shown_and_found_once_indexed(self, api: Api) -> None:
        [item] = (await api.accepted([raw_item(7)]))["items"]
        shown = await api.get(f"/v1/extractions/{item['id']}")
        assert not shown["indexed"]
        assert (shown["source"]["uri"], shown["source"]["group"]) == ("doc:3", "group-0")
        assert (shown["extraction_type"], shown["confidence"]) == ("claim", 0.7)
        assert shown["data"] == raw_item(7)["data"]
        await api.work()
        shown = await api.get(f"/v1/extractions/{item['id']}")
        assert shown["indexed"]
        [hit] = (await api.post("/v1/projects/papers/search", {"query": shown["data"]["fact_text"]}))["items"]
        assert hit["meaning"]["score"] == pytest.approx(1.0, abs=1e-4)
        assert hit["extraction"] == shown

    async def test_an_item_named_twice_is_stored_once(self, api: Api, engine: Engine) -> None:
        for lines in (False, True):
            answer = await api.accepted([raw_item(1), raw_item(2), raw_item(1)], lines=lines)
            assert answer["items"][0]["id"] == answer["items"][2]["id"]
            assert [each["new"] for each in answer["items"]].count(True) == answer["new"]
            assert answer["new"] + answer["known"] == 3
        assert stored(engine) == 2

    async def test_lines_may_be_blank_and_end_as_they_like(self, api: Api) -> None:
        body = b"\xef\xbb\xbf" + b"\r\n\n".join(ndjson([raw_item(n)]).strip() for n in range(3)) + b"\n  \n"
        answer = checked(await api.client.post(PATH, content=body, headers=LINES), 202)
        assert answer["new"] == 3

    @pytest.mark.slow
    async def test_a_long_answer_is_told_whole(self, tmp_path: Path) -> None:
        """Longer than what is kept in memory."""
        async with serving(tmp_path, sections={"worker": {"batch_size": 1_000}}) as api:
            answer = await api.accepted([raw_item(1)] * 80_000, lines=True)
        assert len(answer["items"]) == 80_000
        assert (answer["new"], answer["known"]) == (1, 79_999)

    async def test_a_bad_item_keeps_the_whole_list_out(self, api: Api, engine: Engine) -> None:
        items = [raw_item(0), raw_item(1, confidence=2), raw_item(2)]
        told = problem_of(await api.hand_in(items), 422, "invalid-input")
        assert (told["index"], told["field"]) == (1, "confidence")
        assert stored(engine) == 0

    async def test_a_bad_line_is_named_and_those_before_it_are_stored(self, api: Api, engine: Engine) -> None:
        items: list[object] = [raw_item(n) for n in range(60)]
        items.insert(57, raw_item(57, source_uri=5))
        told = problem_of(await api.hand_in(items, lines=True), 422, "invalid-input")
        assert (told["index"], told["field"], told["stored"]) == (57, "source_uri", 57)
        assert "item 57" in told["detail"]
        assert stored(engine) == 57
        repaired = await api.accepted([raw_item(n) for n in range(60)], lines=True)
        assert (repaired["new"], repaired["known"]) == (3, 57)

    @pytest.mark.slow
    async def test_a_line_that_is_no_extraction_is_named(self, api: Api) -> None:
        lines = [b"{", b"nonsense", b"[1]", b"5", b'{"a": NaN}', b"\xff", b'{"source_uri": "\\ud800"}']
        lines += [ndjson([raw_item(1)]).strip().replace(b'"n":1', b'"n":' + bad) for bad in BAD_VALUES]
        for line in lines:
            body = ndjson([raw_item(0)]) + line + b"\n"
            told = problem_of(await api.client.post(PATH, content=body, headers=LINES), 422, "invalid-input")
            assert (told["index"], told["stored"]) == (1, 1)

    async def test_a_value_that_no_store_keeps_is_refused(self, api: Api) -> None:
        for bad in BAD_VALUES:
            body = b'{"extractions": [%b]}' % ndjson([raw_item(1)]).replace(b'"n":1', b'"n":' + bad)
            answer = await api.client.post(PATH, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 422, (bad, answer.text)
            assert answer.json()["type"].rpartition(":")[2] in KINDS_OF_BAD_VALUES, bad

    async def test_nothing_handed_in_is_refused(self, api: Api) -> None:
        for body in (b"", b"\n\n"):
            problem_of(await api.client.post(PATH, content=body, headers=LINES), 422, "invalid-input")
        documents: list[object] = [
            {},
            {"extractions": []},
            {"extractions": {}},
            {"extractions": [], "more": 1},
            [],
            5,
        ]
        for document in documents:
            told = problem_of(await api.client.post(PATH, json=document), 422, "invalid-input")
            assert told["field"] == "extractions"


class TestIdempotencyKey:
    @pytest.mark.parametrize("lines", [False, True])
    async def test_the_same_request_gets_the_same_answer(self, api: Api, engine: Engine, lines: bool) -> None:
        items = [raw_item(n) for n in range(120)]
        first = await api.accepted(items, lines=lines, idempotency_key="k1")
        jobs = queued(engine)
        assert await api.accepted(items, lines=lines, idempotency_key="k1") == first
        await api.work()
        assert await api.accepted(items, lines=lines, idempotency_key="k1") == first
        assert (stored(engine), queued(engine)) == (120, jobs)

    @pytest.mark.parametrize("lines", [False, True])
    async def test_another_request_under_the_key_is_a_problem(
        self, api: Api, engine: Engine, lines: bool
    ) -> None:
        await api.accepted([raw_item(n) for n in range(120)], lines=lines, idempotency_key="k1")
        for changed in ([raw_item(n) for n in range(1, 121)], [raw_item(n, confidence=0) for n in range(120)]):
            answer = await api.hand_in(changed, lines=lines, idempotency_key="k1")
            assert "k1" in problem_of(answer, 422, "idempotency-key-reused")["detail"]
        assert stored(engine) == 120

    async def test_a_shorter_or_longer_stream_is_another_request(self, api: Api, engine: Engine) -> None:
        """Even where its batches are those of the first, as far as they go."""
        items = [raw_item(n) for n in range(150)]
        await api.accepted(items[:100], lines=True, idempotency_key="k1")
        for changed in (items[:50], items):
            problem_of(
                await api.hand_in(changed, lines=True, idempotency_key="k1"), 422, "idempotency-key-reused"
            )
        assert stored(engine) == 100

    async def test_a_request_cut_half_way_is_taken_up_again(
        self, api: Api, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        items = [raw_item(n) for n in range(120)]
        body = ndjson(items)
        half = body[: body.index(b"\n", len(body) * 3 // 4)]
        head = (
            f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {NDJSON}\r\nidempotency-key: k1\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        _, writer = await api.connect()
        writer.write(head.encode() + half)
        await until(lambda: stored(engine) == 50)
        writer.close()
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        answer = await api.accepted(items, lines=True, idempotency_key="k1")
        assert (answer["new"], len(answer["jobs"])) == (120, 3)
        assert all(each["new"] for each in answer["items"])
        assert (stored(engine), queued(engine)) == (120, 3)

    async def test_keys_are_apart_and_so_are_projects(self, api: Api) -> None:
        await api.accepted([raw_item(1)], idempotency_key="k1")
        assert (await api.accepted([raw_item(1)], idempotency_key="k2"))["new"] == 0
        problem_of(
            await api.hand_in([raw_item(1)], project="other", idempotency_key="k1"),
            422,
            "idempotency-key-reused",
        )

    async def test_a_key_that_is_none_is_refused(self, api: Api) -> None:
        for key in ("", "x" * 256, "a\tb", "ü"):
            answer = await api.client.post(
                PATH, json={"extractions": [raw_item(1)]}, headers=[(b"idempotency-key", key.encode())]
            )
            assert problem_of(answer, 422, "invalid-input")["field"] == "Idempotency-Key"


class TestReading:
    async def test_pages_are_complete_and_in_order(self, api: Api) -> None:
        await api.accepted([raw_item(n) for n in range(40)])
        for limit in (7, 10, 40, 1000):
            found = [each["id"] for each in await pages(api, limit)]
            assert found == sorted(found)
            assert len(set(found)) == 40

    async def test_a_page_of_large_extractions_ends_early(self, api: Api) -> None:
        for n in range(4):
            await api.accepted([{**raw_item(n), "data": {"n": n, "texts": ["x" * 1_000_000] * 3}}])
        first = await api.get(PATH, limit=10)
        second = await api.get(PATH, limit=10, cursor=first["next_cursor"])
        assert [len(page["items"]) for page in (first, second)] == [2, 2]
        assert second["next_cursor"] is None
        assert {each["data"]["n"] for each in first["items"] + second["items"]} == set(range(4))

    async def test_what_comes_between_two_pages_disturbs_neither(self, api: Api) -> None:
        await api.accepted([raw_item(n) for n in range(20)])
        first = await api.get(PATH, limit=10)
        await api.delete(f"/v1/extractions/{first['items'][-1]['id']}")
        second = await api.get(PATH, limit=100, cursor=first["next_cursor"])
        assert len(second["items"]) == 10
        assert not {each["id"] for each in first["items"]} & {each["id"] for each in second["items"]}

    async def test_filters_pass_what_fits(self, api: Api) -> None:
        items = [raw_item(n) for n in range(40)]
        await api.accepted(items)
        for filters, expected in FILTERS:
            wanted = {item["data"]["n"] for item in items if expected(item)}
            assert {each["data"]["n"] for each in await pages(api, 3, **filters)} == wanted, filters

    async def test_runs_and_what_became_of_the_vector_filter_too(self, api: Api) -> None:
        """Run one asserts 1 and 2, which are indexed. Run two asserts 2, 3 and 4; 4 can't be."""
        first = await api.accepted([raw_item(1), raw_item(2)], params={"run": "first"})
        await api.work()
        second = await api.accepted([raw_item(n) for n in (2, 3, 4)], params={"run": "second"})
        with Session(api.container.engine()) as session, session.begin():
            ExtractionRepository(session).set_aside({second["items"][2]["id"]: "no text"})
        one, other = first["run_id"], second["run_id"]
        cases: list[tuple[dict[str, Any], set[int]]] = [
            ({"run_ids": one}, {1, 2}),
            ({"run_ids": other}, {2, 3, 4}),
            ({"run_ids": [one, other]}, {1, 2, 3, 4}),
            ({"run_ids": str(uuid4())}, set()),
            ({"indexed": True}, {1, 2}),
            ({"indexed": "false"}, {3, 4}),
            ({"set_aside": True}, {4}),
            ({"set_aside": False, "indexed": False}, {3}),
            ({"run_ids": other, "indexed": True}, {2}),
        ]
        for filters, expected in cases:
            assert {each["data"]["n"] for each in await pages(api, 2, **filters)} == expected, filters
        body = {"filters": {"run_ids": [other], "indexed": False, "set_aside": False}}
        assert (await api.post(f"{PATH}/delete", body, 202))["deleted"] == 1
        assert {each["data"]["n"] for each in await pages(api, 9)} == {1, 2, 4}
        found = await api.post("/v1/projects/papers/search", {"query": "river", "run_ids": [other]})
        # By words what has no vector is found too.
        assert {hit["extraction"]["data"]["n"] for hit in found["items"]} == {2, 4}

    async def test_counting_passes_what_listing_does(self, api: Api) -> None:
        items = [raw_item(n) for n in range(40)]
        await api.accepted(items)
        assert (await api.get(f"{PATH}/count"))["count"] == 40
        for filters, expected in FILTERS:
            assert (await api.get(f"{PATH}/count", **filters))["count"] == sum(map(expected, items)), filters
        problem_of(await api.client.get("/v1/projects/nowhere/extractions/count"), 404, "not-found")
        told = problem_of(await api.client.get(f"{PATH}/count", params={"limit": "1"}), 422, "invalid-input")
        assert told["field"] == "limit"

    async def test_an_extraction_names_its_project(self, api: Api) -> None:
        await api.accepted([raw_item(1)])
        [listed] = (await api.get(PATH))["items"]
        assert listed["project"] == "papers"
        assert await api.get(f"/v1/extractions/{listed['id']}") == listed

    async def test_a_filter_that_is_none_is_refused(self, api: Api) -> None:
        await api.accepted([raw_item(1)])
        bad: tuple[dict[str, str | list[str]], ...] = (
            {"extraction_types": ""},
            {"extraction_types": "x" * 201},
            {"extraction_types": "a\0b"},
            {"source_groups": "a\0b"},
            {"type": "fact"},
            {"group": "a"},
            {"source_uri": "a"},
            {"run": "nightly"},
            {"run_ids": "nightly"},
            {"min_confidence": "2"},
            {"min_confidence": "nan"},
            {"max_confidence": "x"},
            {"where": "n"},
            {"where": "=5"},
            {"where": "n=[1]"},
            {"where": "a\0b=1"},
            {"where": "fact_text=a\0b"},
            {"where": f"n={10**30}"},
            {"where": f"n=1{'0' * 5_000}"},
            {"where": "n=1e999"},
            {"where": "n = 2025-02-30"},
            {"indexed": "perhaps"},
            {"set_aside": ""},
            {"typ": "fact"},
            {"indexed": ["true", "false"]},
            {"limit": "0"},
            {"limit": "1001"},
            {"limit": "x"},
            {"cursor": "nonsense"},
            {"cursor": "!!"},
            {"cursor": "ü"},
            {"cursor": "WzFd"},
            {"cursor": "WyJ4Il0"},
            {"cursor": ""},
        )
        for filters in bad:
            problem_of(await api.client.get(PATH, params=filters), 422, "invalid-input")

    async def test_a_mistake_in_a_condition_is_told_with_its_place(self, api: Api) -> None:
        await api.accepted([raw_item(1)])
        told = problem_of(await api.client.get(PATH, params={"where": "price >> 5"}), 422, "invalid-input")
        assert "at character 7" in told["detail"]
        part = {"and": [{"path": "n", "op": "=", "value": 1}, {"path": "n", "op": "like", "value": 1}]}
        for body in ({"query": "x", "where": part}, {"filters": {"where": part}}):
            path = f"{PATH}/delete" if "filters" in body else "/v1/projects/papers/search"
            told = problem_of(await api.client.post(path, json=body), 422, "invalid-input")
            assert told["field"] == "where.and[1].op"

    async def test_what_is_not_there_is_not_found(self, api: Api) -> None:
        for id_ in (uuid4(), "0" * 32):
            problem_of(await api.client.get(f"/v1/extractions/{id_}"), 404, "not-found")
            problem_of(await api.client.delete(f"/v1/extractions/{id_}"), 404, "not-found")
        for id_ in ("nonsense", "1", "%00"):
            told = problem_of(await api.client.get(f"/v1/extractions/{id_}"), 422, "invalid-input")
            assert told["field"] == "extraction_id"


class TestSearch:
    async def test_results_fit_every_filter(self, api: Api) -> None:
        items = [raw_item(n) for n in range(40)]
        await api.accepted(items)
        await api.work()
        query = {
            "query": "river",
            "limit": 100,
            "source_groups": ["group-0", "group-1"],
            "extraction_types": ["fact"],
            "min_confidence": 0.1,
            "max_confidence": 0.9,
        }
        found = (await api.post("/v1/projects/papers/search", query))["items"]
        scores = [hit["score"] for hit in found]
        assert scores == sorted(scores, reverse=True)
        assert {hit["extraction"]["data"]["n"] for hit in found} == {
            item["data"]["n"]
            for item in items
            if item["source_group"] in query["source_groups"]  # type: ignore[operator]  # a list
            and item["extraction_type"] == "fact"
            and 0.1 <= item["confidence"] <= 0.9
        }
        [hit] = (
            await api.post("/v1/projects/papers/search", {"query": "river", "where": where_json({"n": 12})})
        )["items"]
        source = hit["extraction"]["source"]
        assert (source["uri"], source["group"]) == ("doc:6", "group-0")

    async def test_a_query_that_is_none_is_refused(self, api: Api) -> None:
        await api.accepted([raw_item(1)])
        await api.work()
        queries: list[object] = [
            {},
            {"query": ""},
            {"query": "   "},
            {"query": "x" * 10_001},
            {"query": 5},
            {"query": "x", "limit": 0},
            {"query": "x", "limit": 1_001},
            {"query": "x", "limit": 1.5},
            {"query": "x", "colour": "red"},
            {"query": "x", "min_confidence": 2},
            {"query": "x", "where": {"path": "n", "op": "=", "value": [1]}},
            {"query": "x", "where": {"path": "n", "op": "=", "value": 10**30}},
            {"query": "x", "where": {"path": "a\0b", "op": "=", "value": 1}},
            {"query": "x", "where": {"n": 1}},
            {"query": "x", "source_groups": ["a\0b"]},
            {"query": "x", "extraction_types": [""]},
            {"query": "x", "run_ids": ["nightly"]},
            {"query": "x", "indexed": False, "mode": "meaning"},
            {"query": "x", "indexed": "true"},
            {"query": "x", "set_aside": True, "mode": "meaning"},
            [],
            "river",
        ]
        for query in queries:
            answer = await api.client.post("/v1/projects/papers/search", json=query)
            problem_of(answer, 422, "invalid-input")

    async def test_odd_text_can_be_looked_for(self, api: Api) -> None:
        await api.accepted([raw_item(1)])
        await api.work()
        for text in ("a\0b", "ü\u200d", "'; DROP TABLE extractions; --", "x" * 10_000):
            await api.post("/v1/projects/papers/search", {"query": text})


class TestRetrying:
    @pytest.fixture
    async def ids(self, api: Api) -> list[str]:
        """Of four that were set aside."""
        answer = await api.accepted([raw_item(n) for n in range(6)])
        ids = [each["id"] for each in answer["items"]][:4]
        with Session(api.container.engine()) as session, session.begin():
            ExtractionRepository(session).set_aside(dict.fromkeys(ids, "no text"))
        await api.work()
        return ids

    async def retried(self, api: Api, body: object, count: int) -> None:
        """That many are tried again at once, and indexed by the jobs."""
        left = (await api.get(f"{PATH}/count", set_aside=True))["count"]
        answer = await api.post(f"{PATH}/retry", body, 202)
        assert answer["retried"] == count
        assert len(answer["jobs"]) == (1 if count else 0)
        assert (await api.get(f"{PATH}/count", set_aside=True))["count"] == left - count
        await api.work()
        assert (await api.get(f"{PATH}/count", indexed=True))["count"] == 6 - left + count

    async def test_by_ids_by_filters_and_all(self, api: Api, ids: list[str]) -> None:
        await self.retried(api, {"ids": [ids[0], ids[0], str(uuid4())]}, 1)
        await self.retried(api, {"ids": []}, 0)
        await self.retried(api, {"filters": {"where": where_json({"n": 0})}}, 0)
        await self.retried(api, {"filters": {"where": where_json({"n": 1})}}, 1)
        warned = await api.post(f"{PATH}/retry", {"filters": {"where": where_json({"nn": 1})}}, 202)
        assert warned["warnings"] == ["no fact has nn; did you mean n?"]
        await self.retried(api, {}, 2)
        await self.retried(api, {"filters": {}}, 0)

    async def test_what_can_not_be_meant_is_refused(self, api: Api, ids: list[str]) -> None:
        bad: list[object] = [
            {"ids": ids, "filters": {}},
            {"ids": ["nonsense"]},
            {"ids": ids[0]},
            {"all": True},
            {"filters": {"set_aside": False}},
            {"filters": {"colour": "red"}},
            [],
        ]
        for body in bad:
            problem_of(await api.client.post(f"{PATH}/retry", json=body), 422, "invalid-input")
        problem_of(await api.client.post("/v1/projects/nowhere/extractions/retry", json={}), 404, "not-found")
        assert (await api.get(f"{PATH}/count", set_aside=True))["count"] == 4


class TestDeleting:
    async def deleted(self, api: Api, answer: Any, count: int, left: set[int]) -> None:
        """Rows go at once, vectors with the jobs; neither is found any more."""
        assert answer["deleted"] == count
        assert len(answer["jobs"]) == (1 if count else 0)
        for _ in range(2):
            query = {"query": "river", "limit": 100}
            found = (await api.post("/v1/projects/papers/search", query))["items"]
            assert {hit["extraction"]["data"]["n"] for hit in found} == left
            await api.work()
        assert await api.container.qdrant_repository().count() == len(left)

    @pytest.fixture
    async def ids(self, api: Api) -> list[str]:
        answer = await api.accepted([raw_item(n) for n in range(10)])
        await api.work()
        return [each["id"] for each in answer["items"]]

    async def test_one(self, api: Api, ids: list[str]) -> None:
        answer = await api.delete(f"/v1/extractions/{ids[3]}")
        await self.deleted(api, answer, 1, set(range(10)) - {3})
        problem_of(await api.client.get(f"/v1/extractions/{ids[3]}"), 404, "not-found")

    async def test_by_ids(self, api: Api, ids: list[str]) -> None:
        body = {"ids": [*ids[:4], ids[0], str(uuid4())]}
        answer = await api.post(f"{PATH}/delete", body, 202)
        await self.deleted(api, answer, 4, set(range(4, 10)))
        await self.deleted(api, await api.post(f"{PATH}/delete", body, 202), 0, set(range(4, 10)))

    async def test_by_filter(self, api: Api, ids: list[str]) -> None:
        assert len(ids) == 10
        body = {"filters": {"extraction_types": ["fact"], "min_confidence": 0.4}}
        answer = await api.post(f"{PATH}/delete", body, 202)
        await self.deleted(api, answer, 3, {0, 1, 2, 3, 5, 7, 9})
        answer = await api.post(f"{PATH}/delete", {"filters": {"where": where_json({"n": 7})}}, 202)
        await self.deleted(api, answer, 1, {0, 1, 2, 3, 5, 9})

    async def test_all_that_the_project_has(self, api: Api, ids: list[str]) -> None:
        await self.deleted(api, await api.post(f"{PATH}/delete", {"all": True}, 202), len(ids), set())

    async def test_another_projects_extractions_stay(self, api: Api, ids: list[str]) -> None:
        await api.post("/v1/projects", {"name": "other"}, 201)
        answer = await api.post("/v1/projects/other/extractions/delete", {"ids": ids}, 202)
        await self.deleted(api, answer, 0, set(range(10)))

    async def test_what_would_delete_everything_or_nothing_clear_is_refused(self, api: Api) -> None:
        await api.accepted([raw_item(1)])
        bodies: list[dict[str, Any]] = [
            {},
            {"filters": {}},
            {"ids": None},
            {"ids": ["x"]},
            {"ids": [], "filters": {"where": where_json({"n": 1})}},
            {"all": False},
            {"all": True, "ids": []},
            {"all": True, "filters": {"where": where_json({"n": 1})}},
        ]
        for body in bodies:
            problem_of(await api.client.post(f"{PATH}/delete", json=body), 422, "invalid-input")
        assert (await api.get("/v1/projects/papers"))["extractions"] == 1
