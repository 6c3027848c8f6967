"""A client of the service for tests, which retries as a producer does."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2

from support.loopback import TLS
from support.parts import WORDS
from support.waiting import wait_for

Json = Any


def raw_item(number: int) -> dict[str, Json]:
    """An extraction, different for each number; its text is unique."""
    words = f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} {number}"
    return {"source_uri": f"doc:{number // 10}", "extraction_type": "fact", "data": {"fact_text": words}}


def text_of(number: int) -> str:
    """The text of that extraction that is embedded."""
    text: str = raw_item(number)["data"]["fact_text"]
    return text


class ServiceClient:
    """A client with one connection at a time; for one thread."""

    def __init__(self, client: httpx2.Client, project: str = "papers") -> None:
        self.http = client
        self._project = f"/v1/projects/{project}"

    def post(self, items: Sequence[Json], key: str | None = None) -> httpx2.Response:
        """Hand extractions in."""
        headers = {} if key is None else {"idempotency-key": key}
        return self.http.post(f"{self._project}/extractions", json={"extractions": items}, headers=headers)

    def search(self, query: str, limit: int = 10, mode: str = "auto") -> httpx2.Response:
        """Search by text."""
        asked = {"query": query, "limit": limit, "mode": mode}
        return self.http.post(f"{self._project}/search", json=asked)

    def get(self, path: str, **parameters: Json) -> Json:
        """Get JSON; the request must succeed."""
        return self.http.get(path, params=parameters).raise_for_status().json()

    def jobs(self, *statuses: str) -> list[Json]:
        """The newest jobs with these statuses."""
        items: list[Json] = self.get("/v1/jobs", status=list(statuses), limit=1_000)["items"]
        return items

    def wait_until_done(self, patience_s: float = 60.0) -> None:
        """Wait until no job is open; none may have failed."""
        wait_for(lambda: not self.jobs("queued", "running", "cancelling"), patience_s)
        assert self.jobs("failed", "cancelled") == []

    def verify(self) -> dict[str, int]:
        """Compare the stores in a job; return its result."""
        job = self.http.post("/v1/verify", json={}).raise_for_status().json()
        wait_for(lambda: self.get(f"/v1/jobs/{job['id']}")["completed_at"])
        result: dict[str, int] = self.get(f"/v1/jobs/{job['id']}")["result"]
        return result

    def ids(self) -> Iterator[str]:
        """The id of every extraction that a search can find."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(f"{self._project}/extractions", limit=1_000, **cursor)
            yield from (each["id"] for each in page["items"] if each["indexed"])
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def assert_holds(self, accepted: Collection[str]) -> None:
        """Check that exactly these are stored and indexed, and that the stores agree."""
        self.wait_until_done()
        assert set(self.ids()) == set(accepted)
        found = self.verify()
        assert found["remaining"] == 0, found
        assert found["extractions"] == found["points"] == len(set(accepted)), found

    def assert_finds(self, ids: dict[int, str], numbers: Sequence[int]) -> None:
        """Check that a search for each extraction's text finds it, perhaps after similar ones."""
        for number in numbers:
            hits = self.search(text_of(number), limit=100).raise_for_status().json()["items"]
            assert ids[number] in {hit["extraction"]["id"] for hit in hits}, number


@contextmanager
def client_of(url: str, timeout_s: float = 60.0) -> Iterator[ServiceClient]:
    """A client, closed at the end."""
    with httpx2.Client(base_url=url, timeout=timeout_s, trust_env=False, verify=TLS) as client:
        yield ServiceClient(client)


def post_until_accepted(
    client: ServiceClient, items: Sequence[Json], key: str | None = None
) -> httpx2.Response:
    """Retry until the items are accepted, even if the service is down meanwhile."""
    deadline = time.monotonic() + 60.0
    while True:
        assert time.monotonic() < deadline, "it was never accepted"
        try:
            answer = client.post(items, key)
        except httpx2.TransportError:
            time.sleep(0.02)
            continue
        if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
            return answer
        time.sleep(0.05)
