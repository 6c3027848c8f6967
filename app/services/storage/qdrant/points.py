"""Check points, normalise their vectors and split them into requests, before anything is sent."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from uuid import UUID

import numpy as np
import orjson
from numpy.typing import ArrayLike, NDArray

from app.domain.ids import is_id
from app.errors import InvalidInput, InvalidItem, InvalidVector
from app.services.storage.qdrant.ports import Payload

T = TypeVar("T")
Id = TypeVar("Id", bound=UUID | str)

MAX_REQUEST_BYTES = 24_000_000
"""Below the 32 MB a server accepts by default."""

_JSON_FLOAT_BYTES = 25
_ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class EmbeddingItem:
    """A point to store: the extraction's id, its vector (not zero), and the fields to filter by."""

    extraction_id: UUID | str
    embedding: ArrayLike
    payload: Payload


@dataclass(frozen=True, slots=True)
class PointBatch:
    """Checked points. ``vectors`` has a row of norm 1 for each point."""

    ids: list[str]
    vectors: NDArray[np.float32]
    payloads: list[Payload]


def checked_batches(items: Sequence[EmbeddingItem], dimension: int, batch_size: int) -> list[PointBatch]:
    """Check all items, then split them, in order, into batches bounded by count and by bytes.

    Raises:
        InvalidVector: a vector has the wrong dimension, isn't finite in float32, or is zero.
        InvalidItem: it isn't an EmbeddingItem, its id isn't a UUID, or its payload isn't JSON.
        InvalidInput: ``items`` is a single item.
    """
    _require_many(items, "items", EmbeddingItem)
    for index, item in enumerate(items):
        if not isinstance(item, EmbeddingItem):
            raise InvalidItem(index, f"a {type(item).__name__} is not an EmbeddingItem")
        _check_id(index, item.extraction_id)
    sizes = [dimension * _JSON_FLOAT_BYTES + _payload_bytes(i, item.payload) for i, item in enumerate(items)]
    vectors = unit_vectors([item.embedding for item in items], dimension)
    return [
        PointBatch(
            [str(item.extraction_id) for item in items[start:stop]],
            vectors[start:stop],
            [item.payload for item in items[start:stop]],
        )
        for start, stop in _cuts(sizes, batch_size)
    ]


def unit_vectors(vectors: Sequence[ArrayLike], dimension: int) -> NDArray[np.float32]:
    """Check vectors and normalise them to norm 1: shape ``(len(vectors), dimension)``.

    The engines don't normalise a vector shorter than 0.0003, which would then score near zero.

    Raises:
        InvalidVector: one has the wrong dimension, isn't finite in float32, or is zero.
    """
    rows = np.empty((len(vectors), dimension), np.float32)
    with np.errstate(over="ignore"):
        for index, vector in enumerate(vectors):
            rows[index] = _row(index, vector, dimension)
    # In pieces, because a numpy operation on all rows would block every other thread.
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        _normalise(rows[start : start + _ROWS_AT_ONCE], start)
    return rows


def check_ids(ids: Collection[UUID | str]) -> None:
    """Check that these are ids, each a UUID or its text in lower case with hyphens.

    Raises:
        InvalidItem: one isn't.
        InvalidInput: it is a single id, or an iterator, which could be read only once.
    """
    _require_many(ids, "ids", UUID)
    for index, extraction_id in enumerate(ids):
        _check_id(index, extraction_id)


def slices(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield ``items`` in order, at most ``size`` at a time."""
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page


def grouped(payloads: Mapping[Id, Payload], size: int) -> list[tuple[Payload, list[str]]]:
    """Group the ids of points by payload, at most ``size`` in a group.

    Raises:
        InvalidItem: an id isn't a UUID.
    """
    check_ids(payloads)
    groups: dict[bytes, tuple[Payload, list[str]]] = {}
    for id_, payload in payloads.items():
        key = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
        groups.setdefault(key, (payload, []))[1].append(str(id_))
    return [(payload, some) for payload, ids in groups.values() for some in slices(ids, size)]


def _require_many(given: object, what: str, one: type) -> None:
    if isinstance(given, str | one):
        raise InvalidInput(f"expected a list of {what}, not a single one, {given!r:.60}; put it in a list")
    if not isinstance(given, Collection):
        raise InvalidInput(f"expected a list of {what}, not a {type(given).__name__}; pass list(...) of it")


def _check_id(index: int, extraction_id: object) -> None:
    if not is_id(extraction_id):
        reason = f"{extraction_id!r:.60} is not a UUID, or the text of one in lower case with hyphens"
        raise InvalidItem(index, reason, "extraction_id")


def _payload_bytes(index: int, payload: Payload) -> int:
    if not isinstance(payload, dict):
        raise InvalidItem(index, f"the payload is a {type(payload).__name__}, not a dict", "payload")
    if any(isinstance(value, float) and not math.isfinite(value) for value in payload.values()):
        raise InvalidItem(index, "the payload has a number that is not finite", "payload")
    try:
        return len(orjson.dumps(payload))
    except TypeError as error:
        raise InvalidItem(index, f"the payload is not JSON: {error}", "payload") from error


def _row(index: int, vector: ArrayLike, dimension: int) -> NDArray[np.float32]:
    try:
        row = np.asarray(vector)
    except ValueError as error:
        raise InvalidVector(index, "is not a flat sequence of numbers") from error
    if row.shape != (dimension,):
        shape = f"{len(row)} dimensions" if row.ndim == 1 else f"the shape {row.shape}"
        raise InvalidVector(index, f"has {shape}, but the collection has {dimension}")
    if row.dtype.kind not in "fiu":
        raise InvalidVector(index, "has a value that is not a number")
    return row.astype(np.float32, copy=False)


def _normalise(rows: NDArray[np.float32], first: int) -> None:
    with np.errstate(over="ignore", under="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    for bad, reason in (
        (~np.isfinite(rows).all(axis=1), "has a number that is not finite in float32"),
        (squares == 0.0, "is zero, or too small for float32"),
    ):
        if bad.any():
            raise InvalidVector(first + int(bad.argmax()), reason)
    # In float64, because squares of float32 numbers can overflow or underflow in float32.
    exact = rows.astype(np.float64)
    rows[:] = exact / np.sqrt(np.einsum("ij,ij->i", exact, exact))[:, None]


def _cuts(sizes: Sequence[int], batch_size: int) -> Iterator[tuple[int, int]]:
    """Yield where batches start and stop; an item over the byte limit gets its own batch."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == batch_size or total + size > MAX_REQUEST_BYTES):
            yield start, index
            start, total = index, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)
