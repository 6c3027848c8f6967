"""Read the answer of a ``/v1/embeddings`` endpoint, and decide whether a retry can help."""

import re
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
_TOO_LARGE = re.compile(r"\b(request|input|prompt|text)s?\b[^.]{0,60}?\btoo (large|long|big)\b", re.IGNORECASE)
_TOO_LONG = re.compile(
    _TOO_LARGE.pattern + r"|context (length|size|window)|max\w* (input|sequence) length|too many tokens"
    r"|less than \d+ tokens|\d+ tokens, max|\b(input|prompt|text|sequence)s?\b[^.]{0,60}?\b(exceeds?|longer than)\b",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"(?:maximum|max|limit|less than|at most|up to|supports|batch size)\D{0,60}?(\d+)", re.IGNORECASE
)
_NOT_NUMBERS = "the embedding endpoint answered vectors with something other than numbers"
_UNKNOWN_SHARE = 0.5  # for a text that is too long by an unknown amount
_MARGIN = 0.95  # tokens aren't spread evenly over a text


class TransientEndpointError(Exception):
    """A try failed for a transient reason; retry after ``least_s`` at the earliest.

    ``busy`` means that the endpoint's rate limit was hit.
    """

    def __init__(self, reason: str, least_s: float = 0.0, *, busy: bool = False) -> None:
        self.least_s = least_s
        self.busy = busy
        super().__init__(reason)


class RefusedError(EmbeddingError):
    """The endpoint refused the content of a request: a text, or the model's name.

    If it says that a text is too long, ``fits`` is the share of the text that it takes.
    """

    def __init__(self, reason: str, fits: float | None = None) -> None:
        self.fits = fits
        super().__init__(reason)


def check_status(response: "httpx2.Response", content: bytes, unquotable: Sequence[str]) -> None:
    """Raise unless the response, whose body is ``content``, is a success.

    The error's message doesn't quote ``unquotable``.

    Raises:
        RefusedError: the content of the request was refused; with any status, if the reason is a
            text's length.
        TransientEndpointError: 429 and 5xx.
        EmbeddingError: any other status, redirects among them.
    """
    if response.is_success:
        return
    status = response.status_code
    reason = _reason(content)
    answer = f"the embedding endpoint answered {status}: {_unquoting(reason, unquotable)}"
    # The words for a rate limit are similar to those for a text that exceeds the length limit.
    if (_TOO_LARGE if status == _TOO_MANY_REQUESTS else _TOO_LONG).search(reason):
        raise RefusedError(answer, _share_that_fits(reason))
    if status in _MAYBE_THE_TEXTS:
        raise RefusedError(answer)
    if status == _TOO_MANY_REQUESTS or response.is_server_error:
        least_s = parse_retry_after(response.headers.get("Retry-After"))
        raise TransientEndpointError(answer, least_s, busy=status == _TOO_MANY_REQUESTS)
    if response.is_redirect:
        place = redirect_target(response.headers.get("Location", ""))
        shown = "elsewhere" if any(_quotes(place, text) for text in unquotable) else place
        raise EmbeddingError(
            f"{answer}; it leads to {shown}, and redirects are not followed, because they could lead the key away",
            advice="set embedding.base_url to where you want it sent",
        )
    raise EmbeddingError(answer)


def _share_that_fits(reason: str) -> float:
    """The share to keep of a text that is too long, from the endpoint's reason.

    Endpoints give the limit and the length in tokens, in different words; without them, it is half.
    """
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", reason)
    limit = int(found[1]) if (found := _LIMIT.search(plain)) else 0
    longer = [number for number in map(int, re.findall(r"\b\d+\b", plain)) if number > limit]
    return _MARGIN * limit / min(longer) if limit and longer else _UNKNOWN_SHARE


def read_vectors(content: bytes, count: int, dimension: int, unquotable: Sequence[str]) -> NDArray[np.float64]:
    """Read one row for each text, in the order of the texts; not normalised.

    Raises:
        RefusedError: the answer says that a text is too long, despite a success status.
        EmbeddingError: the answer isn't ``count`` vectors of ``dimension`` numbers, one for each
            text.
    """
    try:
        items = orjson.loads(content)["data"]
        rows: dict[int, list[float]] = {item["index"]: item["embedding"] for item in items}
        dimensions = {len(row) for row in rows.values()}
    except (ValueError, TypeError, KeyError) as error:
        raise _no_embeddings(content, unquotable) from error
    if len(items) != count:
        raise EmbeddingError(f"the embedding endpoint answered {len(items)} vectors for {count} texts")
    if rows.keys() != set(range(count)):
        raise EmbeddingError(f"the embedding endpoint's vectors aren't numbered 0 to {count - 1}, each once")
    if dimensions != {dimension}:
        raise EmbeddingError(
            f"the model makes vectors of {max(dimensions - {dimension})} dimensions and embedding.dimension "
            f"is {dimension}",
            advice="set it to what the model makes",
        )
    try:
        vectors = np.array([rows[index] for index in range(count)], np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise EmbeddingError(_NOT_NUMBERS) from error
    if vectors.shape != (count, dimension):  # the items are lists themselves
        raise EmbeddingError(_NOT_NUMBERS)
    return vectors


def _no_embeddings(content: bytes, unquotable: Sequence[str]) -> EmbeddingError:
    """The error for an answer without embeddings; some gateways report errors as successes."""
    reason = _reason(content)
    answer = (
        f"the embedding endpoint answered something other than embeddings: {_unquoting(reason, unquotable)}"
    )
    return (
        RefusedError(answer, _share_that_fits(reason)) if _TOO_LONG.search(reason) else EmbeddingError(answer)
    )


def _reason(content: bytes) -> str:
    """The endpoint's reason, in one short line that every database can store."""
    try:
        reason = _message_in(orjson.loads(content))
    except ValueError:
        reason = content.decode(errors="replace")
    printable = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(printable.split())[:_REASON_CHARACTERS] or "(no reason given)"


def _unquoting(reason: str, unquotable: Sequence[str]) -> str:
    quotes = any(_quotes(reason, text) for text in unquotable)
    return "(its reason repeats what was sent and is left out)" if quotes else reason


def _message_in(answer: object) -> str:
    """The text in ``{"error": {"message": ...}}`` and similar forms; of a list, the first."""
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
