"""An embedder for any endpoint with OpenAI's ``/v1/embeddings`` API."""

import hashlib
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl, unquote, urlsplit

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import DeadlineExceeded, EmbeddingError, EmbeddingRejected, EmbeddingUnavailable
from app.executor import Lane
from app.intake.bounded_body import AnswerTooLongError, AnswerTooSlowError, read_within
from app.retry import GaveUp, RetryPolicy, retrying
from app.services.embedding.batches import TextBatch, batches, normalised
from app.services.embedding.connections import Connections
from app.services.embedding.embedder import HARMLESS_TEXT, EmbedderIdentity, TextRole
from app.services.embedding.openai_answer import (
    RefusedError,
    TransientEndpointError,
    check_status,
    read_vectors,
)
from app.settings.sections import EmbeddingSettings

_REQUEST_CHARACTERS = 200_000  # some 50,000 tokens; OpenAI takes 300,000 in a request
_HARMLESS = TextBatch(0, [HARMLESS_TEXT])
_PATIENCE = 3
"""Transient failures before the texts themselves are suspected."""
_SHORTEST_TRY_S = 0.001  # with no time left: a client takes a timeout of 0 as no limit
_ANY_ANSWER_BYTES = 8 * 2**20
_NUMBER_BYTES = 64  # a number in an answer, with whitespace; some 24 without indentation


class OpenAIEmbedder:
    """Embeds over HTTP, with a synchronous client on the lane's threads: decoding blocks no loop.

    ``embedding.timeout`` bounds each step of a try (connecting, sending, waiting for bytes), and
    ``retry_timeout`` all tries and pauses of a request. A call sends its requests one after the
    other; it holds no slot of the lane while pausing. Reading an answer is bounded by the same
    time, and by the greatest possible size of the vectors. Neither the key nor a text gets into a
    log, an error or a ``repr``.
    """

    languages: frozenset[str] | None = None

    def __init__(self, lane: Lane, connections: Connections, settings: EmbeddingSettings) -> None:
        """``settings`` must have a model and a dimension, as checked settings for ``openai`` do."""
        if settings.model is None or settings.dimension is None:
            raise ValueError("an OpenAI embedder needs embedding.model and embedding.dimension")
        self._prefixes = {
            TextRole.PASSAGE: settings.passage_prefix or "",
            TextRole.QUERY: settings.query_prefix or "",
        }
        # Without the URL: the same model behind another address makes the same vectors.
        self.identity = EmbedderIdentity(
            f"openai/{settings.model}", _version(self._prefixes), settings.dimension
        )
        self._lane = lane
        self._connections = connections
        self._settings = settings
        self._url = f"{settings.base_url.rstrip('/')}/embeddings"
        self._secrets = _secrets_in(settings.base_url)
        self._retry = RetryPolicy(settings.retry_timeout)

    async def embed(self, texts: Sequence[str], role: TextRole = TextRole.PASSAGE) -> NDArray[np.float32]:
        """See :meth:`Embedder.embed`; the endpoint gets each text with the prefix of its role."""
        vectors = np.empty((len(texts), self.identity.dimension), np.float32)
        for batch in batches(
            texts,
            max_texts=self._settings.batch_size,
            max_characters=_REQUEST_CHARACTERS,
            prefix=self._prefixes[role],
        ):
            vectors[batch.rows] = await self._embed(batch)
        return vectors

    async def ping(self) -> None:
        """Embed a word, within ``embedding.timeout``."""
        await self._request(_HARMLESS, RetryPolicy(self._settings.timeout))

    async def _embed(self, batch: TextBatch) -> NDArray[np.float32]:
        try:
            return await self._request(batch, self._retry)
        except RefusedError as refused:
            # Endpoints refuse a model's name with the same status as a text. A harmless text shows
            # which one it was.
            await self._require_harmless_passes()
            raise EmbeddingRejected(f"{batch}: {refused}", fits=refused.fits) from refused
        except EmbeddingRejected:
            await self._require_harmless_passes()
            raise

    async def _require_harmless_passes(self) -> None:
        try:
            await self._request(_HARMLESS, self._retry)
        except EmbeddingRejected as error:
            raise EmbeddingError(f"the model makes no usable vector of a harmless text: {error}") from error

    async def _request(self, batch: TextBatch, retry: RetryPolicy) -> NDArray[np.float32]:
        tries = 0

        async def attempt(left_s: float) -> NDArray[np.float32]:
            nonlocal tries
            tries += 1
            if tries <= _PATIENCE or batch is _HARMLESS:
                return await self._try(batch, left_s)
            until = time.monotonic() + left_s
            await self._try(_HARMLESS, left_s)
            return await self._try_beside_harmless(batch, until - time.monotonic())

        try:
            return await retrying(retry, attempt, retry_after=_retry_after)
        except GaveUp as gave_up:
            last = gave_up.__cause__
            busy = isinstance(last, TransientEndpointError) and last.busy
            raise EmbeddingUnavailable(
                f"{gave_up}: {last}", retry_after_s=gave_up.retry_after_s, busy=busy
            ) from last

    async def _try_beside_harmless(self, batch: TextBatch, left_s: float) -> NDArray[np.float32]:
        """Try right after a harmless text has passed: if it fails, waiting longer won't help."""
        try:
            return await self._try(batch, left_s)
        except TransientEndpointError as error:
            if error.busy:
                raise
            raise EmbeddingUnavailable(f"a harmless text passes, and {batch} fails: {error}") from error

    async def _try(self, batch: TextBatch, left_s: float) -> NDArray[np.float32]:
        left_s = max(left_s, _SHORTEST_TRY_S)
        until = time.monotonic() + left_s
        timeout_s = min(left_s, self._settings.timeout)
        try:
            return await self._lane.run(self._post, batch, timeout_s, until, timeout_s=left_s)
        except DeadlineExceeded as error:
            raise TransientEndpointError("the embedding endpoint didn't answer in the time left") from error

    def _post(self, batch: TextBatch, timeout_s: float, until: float) -> NDArray[np.float32]:
        import httpx2  # noqa: PLC0415 - slow to import, and only needed for this embedder

        texts = [batch.prefix + text for text in batch.texts]
        body = orjson.dumps({"model": self._settings.model, "input": texts, "encoding_format": "float"})
        most_bytes = max(_ANY_ANSWER_BYTES, len(batch.texts) * self.identity.dimension * _NUMBER_BYTES)
        client = self._connections.client()
        try:
            with client.stream("POST", self._url, content=body, timeout=timeout_s) as response:
                content = read_within(response.iter_bytes(), most_bytes=most_bytes, until=until)
        except AnswerTooSlowError as error:
            raise TransientEndpointError(
                "the embedding endpoint's answer didn't end in the time left"
            ) from error
        except AnswerTooLongError as error:
            raise EmbeddingError(
                f"the embedding endpoint's answer has more than {most_bytes:,} bytes, too many for its vectors"
            ) from error
        except (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError) as error:
            raise TransientEndpointError(
                f"the embedding endpoint can't be reached ({_named(error)})"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise EmbeddingError(f"the request to the embedding endpoint failed ({_named(error)})") from error
        unquotable = [*batch.texts, self._connections.key(), *self._secrets]
        check_status(response, content, unquotable)
        vectors = read_vectors(content, len(batch.texts), self.identity.dimension, unquotable)
        return normalised(vectors, batch.first)


def _version(prefixes: Mapping[TextRole, str]) -> str:
    """``1`` without prefixes, else a hash of them, because they change the vectors."""
    if not any(prefixes.values()):
        return "1"
    told = orjson.dumps([prefixes[TextRole.PASSAGE], prefixes[TextRole.QUERY]])
    return f"1 with prefixes {hashlib.sha256(told).hexdigest()[:12]}"


def _secrets_in(url: str) -> list[str]:
    """The parts of a URL that may be secret, as written and as sent."""
    parts = urlsplit(url)
    userinfo = unquote(parts.netloc.rpartition("@")[0])
    sent = b64encode(userinfo.encode()).decode()
    given = [userinfo, *userinfo.split(":", 1), sent] if userinfo else []
    return [*given, *(value for _, value in parse_qsl(parts.query))]


def _retry_after(error: Exception) -> float | None:
    return error.least_s if isinstance(error, TransientEndpointError) else None


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
