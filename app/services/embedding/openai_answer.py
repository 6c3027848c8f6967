"""Reading what a ``/v1/embeddings`` endpoint answered, and judging whether asking again can help."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import EmbeddingError
from app.intake.bounded_body import redirect_target
from app.retry import parse_retry_after

if TYPE_CHECKING:
    import httpx2

_MAYBE_THE_TEXTS = (400, 413, 422)
_TOO_MANY_REQUESTS = 429
_REASON_CHARACTERS = 300
_QUOTE_CHARACTERS = 12  # a reason that repeats this much of a text quotes it
_SHORTEST_QUOTE = 4  # shorter texts are found in any sentence


class TransientEndpointError(Exception):
    """A try that failed for a reason that may pass, after ``least_s`` at the earliest."""

    def __init__(self, reason: str, least_s: float = 0.0) -> None:
        self.least_s = least_s
        super().__init__(reason)


class RefusedError(EmbeddingError):
    """The endpoint refused a request for what was in it: the texts, or the model's name."""


def check_status(response: "httpx2.Response", content: bytes, unquotable: Sequence[str]) -> None:
    """Return if the response, whose body is ``content``, is a success.

    The error's message repeats nothing of ``unquotable``.

    Raises:
        TransientEndpointError: 429 and 5xx.
        RefusedError: what was in the request was refused.
        EmbeddingError: any other status, redirects among them.
    """
    if response.is_success:
        return
    status = response.status_code
    answer = f"the embedding endpoint answered {status}: {_reason(content, unquotable)}"
    if status == _TOO_MANY_REQUESTS or response.is_server_error:
        raise TransientEndpointError(answer, parse_retry_after(response.headers.get("Retry-After")))
    if status in _MAYBE_THE_TEXTS:
        raise RefusedError(answer)
    if response.is_redirect:
        place = redirect_target(response.headers.get("Location", ""))
        shown = "elsewhere" if any(_quotes(place, text) for text in unquotable) else place
        raise EmbeddingError(
            f"{answer}; it leads to {shown}, and redirects are not followed, because they could lead the key away: "
            "set embedding.base_url to where you want it sent"
        )
    raise EmbeddingError(answer)


def read_vectors(content: bytes, count: int, dimension: int) -> NDArray[np.float64]:
    """One row a text, in the order of the texts whatever the order of the answer; not normalised.

    Raises:
        EmbeddingError: the answer isn't ``count`` vectors of ``dimension`` numbers, one for each text.
    """
    try:
        items = orjson.loads(content)["data"]
        rows: dict[int, list[float]] = {item["index"]: item["embedding"] for item in items}
        dimensions = {len(row) for row in rows.values()}
    except (ValueError, TypeError, KeyError) as error:
        raise EmbeddingError("the embedding endpoint answered something else than embeddings") from error
    if len(items) != count:
        raise EmbeddingError(f"the embedding endpoint answered {len(items)} vectors for {count} texts")
    if rows.keys() != set(range(count)):
        raise EmbeddingError(f"the embedding endpoint's vectors aren't numbered 0 to {count - 1}, each once")
    if dimensions != {dimension}:
        raise EmbeddingError(
            f"the model makes vectors of {max(dimensions - {dimension})} dimensions and embedding.dimension "
            f"is {dimension}; set it to what the model makes"
        )
    try:
        return np.array([rows[index] for index in range(count)], np.float64)
    except (ValueError, TypeError) as error:
        raise EmbeddingError(
            "the embedding endpoint answered vectors that hold something else than numbers"
        ) from error


def _reason(content: bytes, unquotable: Sequence[str]) -> str:
    try:
        reason = _message_in(orjson.loads(content))
    except ValueError:
        reason = content.decode(errors="replace")
    reason = " ".join(reason.split())[:_REASON_CHARACTERS]
    if any(_quotes(reason, text) for text in unquotable):
        return "(its reason repeats what was sent and is left out)"
    return reason or "(no reason given)"


def _message_in(answer: object) -> str:
    """The text in ``{"error": {"message": …}}`` and its likes; of a list of problems, the first one's."""
    while not isinstance(answer, str):
        if isinstance(answer, list) and answer:
            answer = answer[0]
        elif isinstance(answer, Mapping):
            answer = next((answer[key] for key in ("error", "detail", "message", "msg") if key in answer), "")
        else:
            return ""
    return answer


def _quotes(reason: str, text: str) -> bool:
    if len(text) <= _QUOTE_CHARACTERS:
        return len(text) >= _SHORTEST_QUOTE and text in reason
    starts = range(len(text) - _QUOTE_CHARACTERS + 1)
    return any(text[start : start + _QUOTE_CHARACTERS] in reason for start in starts)
