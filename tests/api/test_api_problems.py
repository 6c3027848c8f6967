"""Problems: their form, their status, and that they tell nothing they shouldn't."""

import inspect
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from support.api import Api, problem_of, raw_item, serving

from app import errors
from app.api.problems import KINDS, kind_of
from app.domain.search import Query
from app.errors import AgentStorageError

SECRET = "hunter2"  # noqa: S105 - of nothing
TELLING = (SECRET, "SELECT", "/srv/data", "http://", "postgresql", "Traceback")

UNDOING: dict[type[AgentStorageError], AgentStorageError] = {
    errors.DatabaseError: errors.DatabaseError(f"the database refused SELECT {SECRET}"),
    errors.DatabaseUnavailable: errors.DatabaseUnavailable(f"postgresql://me:{SECRET}@db is gone"),
    errors.DatabaseWritesRefused: errors.DatabaseWritesRefused(),
    errors.DatabaseEncodingUnfit: errors.DatabaseEncodingUnfit(SECRET, "postgresql"),
    errors.DatabaseTimeout: errors.DatabaseTimeout(f"{SECRET} ran", 60.0, "postgresql"),
    errors.QdrantError: errors.QdrantError("search", "extractions", f"http://{SECRET}@qdrant said no"),
    errors.QdrantUnavailable: errors.QdrantUnavailable("search", "extractions", f"http://{SECRET}@qdrant"),
    errors.CollectionMismatch: errors.CollectionMismatch("/srv/data", "32", "64"),
    errors.DataDirectoryLocked: errors.DataDirectoryLocked("/srv/data", "extractions"),
    errors.EmbeddingError: errors.EmbeddingError(f"http://{SECRET}@embedder said no"),
    errors.EmbeddingUnavailable: errors.EmbeddingUnavailable(f"http://{SECRET}@embedder is gone"),
    errors.EmbedderMismatch: errors.EmbedderMismatch(f"{SECRET}/v1", "/srv/data"),
    errors.TextsMismatch: errors.TextsMismatch(f"{SECRET}/v1", "/srv/data"),
    errors.IndexMissing: errors.IndexMissing(),
    errors.GenerationMismatch: errors.GenerationMismatch("extractions", 1),
    errors.IndexRebuilding: errors.IndexRebuilding(),
    errors.IndexChanged: errors.IndexChanged(f"{SECRET}/v1", "/srv/data"),
    errors.CollectionMissing: errors.CollectionMissing("search", "extractions", SECRET),
    errors.ForeignCollection: errors.ForeignCollection("be used", "extractions", SECRET, SECRET),
    errors.SchemaMismatch: errors.SchemaMismatch(SECRET, "1"),
    errors.AddressInUse: errors.AddressInUse("postgresql", 1, SECRET),
    errors.ServiceError: errors.ServiceError("GET http://x", SECRET),
    errors.UnsupportedDialect: errors.UnsupportedDialect("oracle", ["postgresql"]),
    errors.Saturated: errors.Saturated("database", 1_000, retry_after_s=3.0),
    errors.DeadlineExceeded: errors.DeadlineExceeded("a call", 1.0),
    errors.ShuttingDown: errors.ShuttingDown("the lane"),
}


class Faulty:
    """A search that raises a given error."""

    def __init__(self) -> None:
        self.fault: BaseException = RuntimeError("nothing was said")

    async def search(self, _: Query) -> list[Any]:
        raise self.fault


@pytest.fixture
def faulty() -> Faulty:
    return Faulty()


@pytest.fixture
async def api(tmp_path: Path, faulty: Faulty) -> AsyncIterator[Api]:
    async with serving(tmp_path, search=faulty) as api:
        yield api


async def search(api: Api, **headers: str) -> httpx2.Response:
    return await api.client.post("/v1/projects/papers/search", json={"query": "river"}, headers=headers)


def error_classes() -> list[type[AgentStorageError]]:
    return [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, AgentStorageError) and each is not AgentStorageError
    ]


class TestErrorsOfOurs:
    def test_every_class_has_a_kind(self) -> None:
        for each in error_classes():
            nearest = next(ancestor for ancestor in each.__mro__ if ancestor in KINDS)
            assert 400 <= KINDS[nearest].status < 600

    def test_what_can_be_tried_again_says_so(self) -> None:
        """A retryable error is a 503; only errors of workers and other services never get here."""
        elsewhere = {
            errors.HandlerCrashed,
            errors.JobStalled,
            errors.ServiceUnavailable,
            errors.TimeLimitExceeded,
        }
        for each in error_classes():
            if each.retryable and each not in elsewhere:
                kind = next(KINDS[ancestor] for ancestor in each.__mro__ if ancestor in KINDS)
                assert kind.status == 503, each
                assert kind.retry_after_s, each

    def test_types_are_stable(self) -> None:
        """Clients branch on them."""
        assert {kind.slug for kind in KINDS.values()} == {
            "conflict",
            "database-timeout",
            "database-unavailable",
            "deadline-exceeded",
            "disk-full",
            "embedder-unavailable",
            "embedding-rejected",
            "history-pruned",
            "idempotency-key-reused",
            "index-changed",
            "index-not-usable",
            "index-rebuilding",
            "internal",
            "invalid-input",
            "mass-delete",
            "not-found",
            "qdrant-unavailable",
            "read-only",
            "run-ended",
            "saturated",
            "shutting-down",
            "stale-replace",
        }

    async def test_none_of_the_servers_side_tells_too_much(self, api: Api, faulty: Faulty) -> None:
        for fault in UNDOING.values():
            faulty.fault = fault
            kind = kind_of(fault)
            answer = await search(api)
            told = problem_of(answer, kind.status, kind.slug)
            assert kind.status >= 500, fault
            assert not [word for word in TELLING if word in answer.text], (fault, told)
            if kind.status == 503:
                assert int(answer.headers["retry-after"]) >= 1
            else:
                assert told["detail"] == KINDS[AgentStorageError].detail

    async def test_how_long_to_wait_is_the_errors_own(self, api: Api, faulty: Faulty) -> None:
        faulty.fault = errors.Saturated("database", 1_000, retry_after_s=7.0)
        assert (await search(api)).headers["retry-after"] == "7"

    async def test_the_clients_own_mistakes_are_told_in_words(self, api: Api, faulty: Faulty) -> None:
        for fault, status, slug in (
            (errors.InvalidField("limit", "is odd"), 422, "invalid-input"),
            (errors.InvalidItem(3, "is odd", "data.n"), 422, "invalid-input"),
            (errors.InvalidVector(0, "is zero"), 422, "invalid-input"),
            (errors.NotFound("job", uuid4()), 404, "not-found"),
            (errors.ProjectExists("papers"), 409, "conflict"),
            (errors.JobStateConflict(uuid4(), "running", "retried"), 409, "conflict"),
            (errors.IdempotencyConflict("k1"), 422, "idempotency-key-reused"),
            (errors.EmbeddingRejected("it is in Klingon"), 422, "embedding-rejected"),
        ):
            faulty.fault = fault
            told = problem_of(await search(api), status, slug)
            assert told["detail"] == str(fault)
            assert told.get("field") == getattr(fault, "field", None)
            assert told.get("index") == getattr(fault, "index", None)

    async def test_words_that_are_no_unicode_are_still_told(self, api: Api, faulty: Faulty) -> None:
        faulty.fault = errors.InvalidInput("\ud800 is odd")
        problem_of(await search(api), 422, "invalid-input")


class TestTheUnexpected:
    @pytest.mark.parametrize(
        "fault", [RuntimeError(SECRET), KeyError(SECRET), MemoryError(), ExceptionGroup("x", [OSError(SECRET)])]
    )
    async def test_it_is_a_problem_and_the_log_has_it_under_its_id(
        self, api: Api, faulty: Faulty, fault: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        faulty.fault = fault
        with caplog.at_level(logging.INFO, "app.api"):
            answer = await search(api, x_request_id="mine-1", **{"x-request-id": "mine-1"})
        told = problem_of(answer, 500, "internal")
        assert told["request_id"] == "mine-1"
        assert SECRET not in answer.text
        broken = [record for record in caplog.records if record.levelname == "ERROR"]
        assert [record.exc_info[1] for record in broken if record.exc_info] == [fault]
        # The next request is served on the same connection.
        await api.get("/v1/projects")


class TestTheFramework:
    async def test_unknown_routes_and_methods(self, api: Api) -> None:
        for path in (
            "/",
            "/v1",
            "/v1/nothing",
            "/v1/projects/",
            "/v1/projects/a/b",
            "/v2/projects",
            "/%00",
            "/v1//jobs",
        ):
            problem_of(await api.client.get(path), 404, "not-found")
        for method, path in (("PUT", "/v1/projects"), ("DELETE", "/v1/jobs"), ("PATCH", "/health/live")):
            answer = await api.client.request(method, path)
            told = problem_of(answer, 405, "method-not-allowed")
            assert f"this path takes only {answer.headers['allow']}; GET /openapi.json lists" in told["detail"]

    async def test_the_paths_are_known_without_making_the_document(self, api: Api) -> None:
        known = {path: {method.lower() for method in of} for path, of in api.app.methods_by_path.items()}
        assert known == {path: set(of) for path, of in api.app.openapi()["paths"].items()}

    async def test_an_unknown_path_is_answered_with_the_nearest_and_never_repeated(self, api: Api) -> None:
        for path, near in (
            ("/v1/project", "did you mean /v1/projects? "),
            ("/v1/projects/mine/extraction", "did you mean /v1/projects/{name}/extractions? "),
            ("/" + "x" * 500, "there is no such path; "),
        ):
            told = problem_of(await api.client.get(path), 404, "not-found")["detail"]
            assert near in told
            assert "GET /openapi.json lists all paths" in told
            assert "mine" not in told

    async def test_every_answer_has_its_requests_id(self, api: Api) -> None:
        for given, kept in (
            ("abc-1", True),
            ("x" * 128, True),
            ("x" * 129, False),
            ("a b", False),
            ("", False),
        ):
            answer = await api.client.get("/v1/nothing", headers={"x-request-id": given})
            told = problem_of(answer, 404, "not-found")
            assert (told["request_id"] == given) is kept
        one, other = [(await api.client.get("/health/live")).headers["x-request-id"] for _ in range(2)]
        assert one != other

    async def test_what_is_no_json(self, api: Api) -> None:
        kind = {"content-type": "application/json"}
        for body in (
            b"",
            b"{",
            b"nonsense",
            b'{"name": NaN}',
            b'{"name": Infinity}',
            b"\xff",
            b'{"name": "\xed\xa0\x80"}',
            b"\xef\xbb\xbf",
            b'{"name": ' + b"1" * 5_000 + b"}",
            b"null x",
        ):
            answer = await api.client.post("/v1/projects", content=body, headers=kind)
            assert answer.status_code == 422, (body, answer.text)
            assert answer.json()["type"] in {
                "urn:agent-storage:problem:invalid-json",
                "urn:agent-storage:problem:invalid-input",
            }

    async def test_odd_json_is_the_clients_mistake(self, api: Api) -> None:
        kind = {"content-type": "application/json"}
        for body in (
            b"null",
            b"[]",
            b"5",
            b"{}",
            b'{"name": "\\ud800"}',
            b'{"name": "\\u0000"}',
            b'{"\\ud800": 1}',
            b'{"name": "a", "\\u0000": 1}',
            b'{"name": 123456789012345678901234567890}',
            b'{"name": "a", "more": 1}',
        ):
            answer = await api.client.post("/v1/projects", content=body, headers=kind)
            told = problem_of(answer, 422, "invalid-input")
            assert len(told["detail"]) <= 1_000

    async def test_a_lone_surrogate_anywhere_is_the_clients_mistake(self, api: Api) -> None:
        kind = {"content-type": "application/json"}
        await api.post("/v1/projects", {"name": "papers"}, 201)
        for path, body in (
            (
                "/v1/projects/papers/extractions/delete",
                b'{"filters": {"where": {"path": "\\ud800", "op": "exists"}}}',
            ),
            (
                "/v1/projects/papers/extractions/delete",
                b'{"filters": {"where": {"path": "n", "op": "=", "value": "\\ud800"}}}',
            ),
            ("/v1/projects/papers/extractions/delete", b'{"ids": ["\\ud800"]}'),
            ("/v1/projects/papers/extractions", b'{"\\ud800": []}'),
            ("/v1/projects/papers/extractions", b'{"extractions": [{"\\ud800": 1}]}'),
            ("/v1/verify", b'{"project": "\\ud800"}'),
        ):
            answer = await api.client.post(path, content=body, headers=kind)
            problem_of(answer, 422, "invalid-input")

    async def test_another_media_type(self, api: Api) -> None:
        for path in (
            "/v1/projects",
            "/v1/projects/papers/search",
            "/v1/projects/papers/extractions",
            "/v1/verify",
        ):
            for kind in ("text/plain", "application/xml", "multipart/form-data", "", "application/jsonx"):
                answer = await api.client.post(path, content=b"{}", headers={"content-type": kind})
                problem_of(answer, 415, "media-type")
        for kind in ("application/json; charset=utf-8", "APPLICATION/JSON"):
            answer = await api.client.post("/v1/projects", content=b"{}", headers={"content-type": kind})
            problem_of(answer, 422, "invalid-input")

    async def test_an_encoded_body(self, api: Api) -> None:
        for encoding in ("gzip", "br", "gzip, identity"):
            answer = await api.client.post(
                "/v1/projects", content=b"{}", headers={"content-encoding": encoding}
            )
            problem_of(answer, 415, "content-encoding")
        answer = await api.client.post(
            "/v1/projects", json={"name": "a"}, headers={"content-encoding": "identity"}
        )
        assert answer.status_code == 201


class TestKeys:
    @pytest.fixture
    async def api(self, tmp_path: Path) -> AsyncIterator[Api]:
        sections = {"api": {"api_keys": ["one-key-of-16-letters", "zwei-Schlüssel-für-alle"]}}
        async with serving(tmp_path, sections=sections) as api:
            yield api

    async def test_either_key_opens_by_either_header(self, api: Api) -> None:
        for key in ("one-key-of-16-letters", "zwei-Schlüssel-für-alle"):
            for name, value in (
                ("authorization", f"Bearer {key}"),
                ("authorization", f"bearer  {key}"),
                ("x-api-key", key),
            ):
                answer = await api.client.get("/v1/projects", headers=[(name.encode(), value.encode())])
                assert answer.status_code == 200, (name, value)

    async def test_no_other_does(self, api: Api) -> None:
        for headers in (
            {},
            {"x-api-key": "wrong"},
            {"x-api-key": ""},
            {"x-api-key": "one-key-of-16-letters2"},
            {"x-api-key": "one-ke"},
            {"authorization": "Bearer wrong"},
            {"authorization": "Bearer"},
            {"authorization": "Basic one-key-of-16-letters"},
            {"authorization": "one-key-of-16-letters"},
            {"authorization": "Bearer wrong", "x-api-key": "wrong"},
        ):
            for path in ("/v1/projects", "/metrics", "/v1/nothing", "/healthy", "/docsx"):
                answer = await api.client.get(path, headers=headers)
                told = problem_of(answer, 401, "not-authenticated")
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "one-key" not in str(told)

    async def test_health_and_documents_are_open(self, api: Api) -> None:
        for path in ("/health/live", "/health/ready", "/openapi.json", "/docs"):
            assert (await api.client.get(path)).status_code == 200, path

    async def test_nothing_is_read_of_who_has_no_key(self, api: Api) -> None:
        head = b"POST /v1/projects HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n"
        assert b" 401 " in await api.raw(head)


async def test_documents_are_served(api: Api) -> None:
    document = await api.get("/openapi.json")
    assert document["components"]["schemas"]["Problem"]["required"]
    assert "swagger" in (await api.client.get("/docs")).text.lower()


async def test_a_bad_item_is_told_by_its_place(api: Api) -> None:
    items = [raw_item(0), raw_item(1, data={"fact_text": "x", "n": [1, {"m": "\0"}]})]
    told = problem_of(await api.hand_in(items), 422, "invalid-input")
    assert (told["index"], told["field"]) == (1, "data.n.m")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_without_keys_no_page_of_another_site_gets_in(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with serving(tmp_path) as api:
        answer = await api.client.get("/v1/projects", headers=headers)
        assert answer.status_code == status
        assert (await api.client.get("/health/live", headers=headers)).status_code == 200
