"""Requests to a running service, with retries and errors that say what to do."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import orjson

from app.cli.remote.answers import (
    CSV,
    AbsentError,
    LostError,
    Table,
    TransientServiceError,
    read_answer,
    read_content,
    read_table,
)
from app.cli.stores import KEY_VARIABLE
from app.errors import DeadlineExceeded, InvalidInput, ServiceError, ServiceUnavailable
from app.executor import Lane
from app.intake.bounded_body import AnswerTooLongError, AnswerTooSlowError, read_within
from app.retry import GaveUp, RetryPolicy, retrying

_TRY_S = 30.0
_STREAM_S = 24 * 3_600.0
_STREAM_ANSWER_S = 600.0
"""How long the service may be silent over a stream of lines; its last transaction may be large."""

_ANSWER_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a service.

    ``all_tries_s`` bounds a request with all its retries and pauses. ``absent_s`` bounds the part
    of it during which connections may be refused, which covers a restart of the service. There is
    no wait for a service that has never answered. ``answer_bytes`` bounds a decompressed answer.
    """

    all_tries_s: float = 60.0
    absent_s: float = 10.0
    answer_bytes: int = _ANSWER_BYTES


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    content: bytes | Iterator[bytes] | None = None
    params: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None
    repeatable: bool = True
    tries_s: float | None = None
    answer_s: float = _TRY_S
    read: Callable[..., Any] = read_answer
    """Turns the answer into a result, as :func:`read_answer` does."""

    def __str__(self) -> str:
        return f"{self.method} {self.url}"


def check_url(url: str) -> str:
    """Check the URL of a service, and return it without a trailing slash.

    Raises:
        InvalidInput: it isn't an HTTP URL, or it contains a user or a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        raise InvalidInput("--api needs a URL such as http://127.0.0.1:8000") from None
    if "@" in parts.netloc:
        raise InvalidInput(f"--api takes no user and no password; set the service's key in {KEY_VARIABLE}")
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment:
        raise InvalidInput(f"--api needs a URL such as http://127.0.0.1:8000, not {url[:200]!r}")
    return url.rstrip("/")


def open_http_client(key: str) -> httpx2.Client:
    """Open a client that sends the key with each request.

    It follows no redirects, because they could send the key to another host.

    Raises:
        InvalidInput: the key holds a character that no HTTP header can carry.
    """
    if not (key.isascii() and key.isprintable()):  # the client's own error would quote the key
        raise InvalidInput(f"{KEY_VARIABLE} holds a character that no HTTP header can carry")
    authorization = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx2.Client(headers={"Accept": "application/json", **authorization}, follow_redirects=False)


class Connection:
    """Sends requests to the service at ``url``, with a synchronous client on the lane's threads."""

    def __init__(self, url: str, client: httpx2.Client, lane: Lane, patience: Patience) -> None:
        self.url = url
        self._client = client
        self._lane = lane
        self._patience = patience
        self._answered = False

    async def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        """GET a path, and return the decoded answer. Raises the errors of :meth:`post`."""
        return await self._ask(_Request("GET", self.url + path, params=params))

    async def get_table(self, path: str, params: Mapping[str, Any]) -> Table:
        """GET a page of CSV. Raises the errors of :meth:`post`."""
        request = _Request("GET", self.url + path, params=params, headers={"Accept": CSV}, read=read_table)
        table: Table = await self._ask(request)
        return table

    async def delete(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """DELETE a path, and return the decoded answer.

        It isn't retried after a lost answer. Raises the errors of :meth:`post`.
        """
        return await self._ask(_Request("DELETE", self.url + path, repeatable=False))

    async def post(
        self,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        repeatable: bool = True,
    ) -> Any:  # noqa: ANN401 - JSON
        """POST a body as JSON, and return the decoded answer.

        A request that isn't ``repeatable`` isn't retried after a lost answer.

        Raises:
            ServiceUnavailable: the service can't be reached, or gave no useful answer in time.
            ServiceError: the service refused the request.
        """
        content = None if body is None else await self._lane.run(orjson.dumps, body)
        json = {} if content is None else {"Content-Type": "application/json"}
        request = _Request(
            "POST",
            self.url + path,
            content=content,
            params=params,
            headers={**json, **(headers or {})},
            repeatable=repeatable,
        )
        return await self._ask(request)

    async def post_lines(self, path: str, lines: Iterator[bytes], params: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """POST a stream of JSON lines, and return the decoded answer.

        The lane's thread reads the iterator. The request isn't retried once any line may have been
        read, because the iterator can't be restarted. It may take up to a day. Raises the errors of
        :meth:`post`.
        """
        headers = {"Content-Type": "application/x-ndjson"}
        request = _Request(
            "POST",
            self.url + path,
            content=lines,
            params=params,
            headers=headers,
            repeatable=False,
            tries_s=_STREAM_S,
            answer_s=_STREAM_ANSWER_S,
        )
        return await self._ask(request)

    async def _ask(self, request: _Request) -> Any:  # noqa: ANN401 - JSON
        async def attempt(left_s: float) -> Any:  # noqa: ANN401 - JSON
            try:
                return await self._lane.run(self._send, request, left_s, timeout_s=left_s)
            except DeadlineExceeded:
                raise LostError(ServiceUnavailable(str(request), "no answer in time")) from None

        policy = RetryPolicy(request.tries_s or self._patience.all_tries_s, first_delay_s=0.2)
        try:
            return await retrying(policy, attempt, retry_after=self._pause_rule(request))
        except TransientServiceError as error:
            raise error.failure from None
        except GaveUp as gave_up:
            raise _final(gave_up) from None

    def _pause_rule(self, request: _Request) -> Callable[[Exception], float | None]:
        """Return a function that says how long to pause after a failure of the request at least.

        It returns None if a retry can't help, or isn't safe.
        """
        absent_since: float | None = None

        def least_pause_s(error: Exception) -> float | None:
            nonlocal absent_since
            if not isinstance(error, TransientServiceError) or (
                isinstance(error, LostError) and not request.repeatable
            ):
                return None
            if isinstance(request.content, Iterator) and not isinstance(error, AbsentError):
                return None  # some of the iterator may have been consumed
            if not isinstance(error, AbsentError):
                absent_since = None
                return error.least_s
            now = asyncio.get_running_loop().time()
            absent_since = now if absent_since is None else absent_since
            waits = self._answered and now - absent_since < self._patience.absent_s
            return error.least_s if waits else None

        return least_pause_s

    async def look(self, path: str, timeout_s: float) -> Any:  # noqa: ANN401 - JSON
        """GET a path once, and return the decoded answer whatever its status.

        For paths whose answers have the same form with success and failure.

        Raises:
            ServiceUnavailable, ServiceError: as :meth:`post`.
        """
        request = _Request("GET", self.url + path)
        try:
            response, content = await self._lane.run(self._exchange, request, timeout_s, timeout_s=timeout_s)
        except TransientServiceError as error:
            raise error.failure from None
        except DeadlineExceeded:
            raise ServiceUnavailable(str(request), "no answer in time") from None
        return read_content(str(request), response.status_code, content)

    def _send(self, request: _Request, left_s: float) -> Any:  # noqa: ANN401 - JSON
        response, content = self._exchange(request, left_s)
        return request.read(str(request), response, content, with_key="Authorization" in self._client.headers)

    def _exchange(self, request: _Request, left_s: float) -> tuple[httpx2.Response, bytes]:
        asked = str(request)
        until, most_bytes = time.monotonic() + left_s, self._patience.answer_bytes
        try:
            with self._client.stream(
                request.method,
                request.url,
                content=request.content,
                params=request.params,
                headers=request.headers,
                timeout=min(left_s, request.answer_s),
            ) as response:
                content = read_within(response.iter_bytes(), most_bytes=most_bytes, until=until)
        except AnswerTooLongError as error:
            raise ServiceError(
                asked, f"the answer has more than {most_bytes:,} bytes; ask for less at once"
            ) from error
        except AnswerTooSlowError as error:
            raise LostError(ServiceUnavailable(asked, "the answer didn't end in time")) from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            reason = f"nothing answers there ({_named(error)}). Is `agent-storage serve` running, and is --api its address?"
            raise AbsentError(ServiceUnavailable(asked, reason)) from error
        except (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError) as error:
            reason = f"the answer was lost ({_named(error)})"
            raise LostError(ServiceUnavailable(asked, reason)) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ServiceError(asked, f"the request can't be sent ({_named(error)})") from error
        self._answered = True
        return response, content


def _final(gave_up: GaveUp) -> ServiceUnavailable:
    last = gave_up.__cause__
    if not isinstance(last, TransientServiceError):
        raise TypeError("gave up after an error that isn't transient") from gave_up
    failure = last.failure
    return ServiceUnavailable(
        failure.asked, f"{failure.reason} ({gave_up})", status=failure.status, request_id=failure.request_id
    )


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
