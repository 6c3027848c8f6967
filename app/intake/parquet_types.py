"""Converts Parquet columns to JSON values, and checks which types a field accepts.

A column is converted as a whole, which is several times as fast as value by value.
"""

import shlex
from collections.abc import Callable
from itertools import islice
from typing import Any

import pyarrow as pa
from pyarrow import compute, types

from app.errors import InvalidInput
from app.intake.mapping import OBJECTS, Path

_FLOAT_DIGITS = 15
"""A decimal of up to this many digits becomes a JSON number; a longer one is kept as text."""


def check_type(name: str, path: Path, arrow_type: Any) -> None:  # noqa: ANN401 - pyarrow has no types
    """Check that the type of a column fits ``path``.

    Raises:
        InvalidInput: it doesn't. The message says which type is needed.
    """
    needed = _needed(path, arrow_type)
    if needed is None and not _is_json(arrow_type):
        needed = "a type that JSON has, so no bytes, durations or maps with keys that aren't text"
    if needed is not None:
        raise InvalidInput(
            f"the column {name!r} is of the type {arrow_type}, and {'.'.join(path)} needs {needed}; cast it, map another, "
            f"or leave it out with --ignore {shlex.quote(name)}"
        )


def is_json_text(path: Path, arrow_type: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    """Whether a column at ``path`` holds JSON as text."""
    return len(path) == 1 and path[0] in OBJECTS and _is_text(arrow_type)


def json_values(column: Any) -> list[Any]:  # noqa: ANN401 - pyarrow has no types
    """Convert a column to JSON values, with None for null. Numbers that aren't finite are kept.

    Raises:
        ValueError: a map has a key twice.
    """
    kind = column.type
    for test, values_of in _BY_TYPE:
        if test(kind):
            return values_of(column)
    return _plain_values(column) if column.null_count or types.is_null(kind) else _quick(column)


def _plain_values(column: Any) -> list[Any]:  # noqa: ANN401 - likewise
    values: list[Any] = column.to_pylist()
    return values


def _quick(column: Any) -> list[Any]:  # noqa: ANN401 - likewise
    """Convert by way of NumPy, which has numbers without nulls and texts with nulls."""
    values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    return values


def _structs(column: Any) -> list[dict[str, Any] | None]:  # noqa: ANN401 - likewise
    """Convert structs, without their nulls: Parquet doesn't distinguish null from absent."""
    names = [column.type.field(number).name for number in range(column.type.num_fields)]
    rows = zip(*map(json_values, column.flatten()), strict=True) if names else iter([()] * len(column))
    members = [
        {name: value for name, value in zip(names, row, strict=True) if value is not None} for row in rows
    ]
    if not column.null_count:
        return list(members)
    return [
        found if valid else None for found, valid in zip(members, column.is_valid().to_pylist(), strict=True)
    ]


def _list_values(column: Any) -> list[list[Any] | None]:  # noqa: ANN401 - likewise
    values = iter(json_values(column.flatten()))
    return [None if length is None else list(islice(values, length)) for length in _lengths(column)]


def _maps(column: Any) -> list[dict[str, Any] | None]:  # noqa: ANN401 - likewise
    lists = column.cast(pa.list_(pa.struct({"key": column.type.key_type, "value": column.type.item_type})))
    keys, items = lists.flatten().flatten()
    pairs = zip(json_values(keys), json_values(items), strict=True)
    maps: list[dict[str, Any] | None] = []
    for length in _lengths(lists):
        if length is None:
            maps.append(None)
            continue
        maps.append(dict(islice(pairs, length)))
        if len(maps[-1] or ()) < length:
            raise ValueError("a map has a key twice")
    return maps


def _lengths(column: Any) -> list[int | None]:  # noqa: ANN401 - likewise
    lengths: list[int | None] = compute.list_value_length(column).to_pylist()
    return lengths


def _numbers(column: Any) -> list[float | str | None]:  # noqa: ANN401 - likewise
    """Convert decimals exactly. The type decides, so that a column has one kind of values."""
    if column.type.precision > _FLOAT_DIGITS:
        return [None if value is None else str(value) for value in column.to_pylist()]
    kind = int if column.type.scale <= 0 else float
    return [None if value is None else kind(value) for value in column.to_pylist()]


def _iso(column: Any) -> list[str | None]:  # noqa: ANN401 - likewise
    return [None if value is None else value.isoformat() for value in column.to_pylist()]


def _timestamps(column: Any) -> list[str | None]:  # noqa: ANN401 - likewise
    """Convert timestamps to ISO 8601, with the zone if there is one."""
    if column.type.unit == "ns":  # Python's times have no nanoseconds
        try:
            column = column.cast(pa.timestamp("us", column.type.tz))
        except pa.ArrowInvalid:
            texts = column.cast(pa.string()).to_pylist()
            return [None if text is None else text.replace(" ", "T", 1) for text in texts]
    return _iso(column)


def _needed(path: Path, arrow_type: Any) -> str | None:  # noqa: ANN401 - pyarrow has no types
    """Return the type that a field needs; None if the column has it."""
    kind = _plain(arrow_type)
    if len(path) > 1 or types.is_null(kind):
        return None
    fits, needed = {
        "confidence": (
            types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind),
            "numbers from 0 to 1",
        ),
        "observed_at": (
            _is_text(kind) or (types.is_timestamp(kind) and kind.tz is not None),
            "timestamps with a zone, or text",
        ),
        "gone": (types.is_boolean(kind), "true or false"),
        "data": (_is_text(kind) or types.is_struct(kind) or types.is_map(kind), "structs, or JSON as text"),
        "metadata": (_is_text(kind) or types.is_struct(kind) or types.is_map(kind), "structs, or JSON as text"),
    }.get(path[0], (_is_text(kind), "text"))
    return None if fits else needed


def _plain(arrow_type: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the type of a dictionary's values, or the type itself."""
    return arrow_type.value_type if types.is_dictionary(arrow_type) else arrow_type


def _is_text(arrow_type: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    kind = _plain(arrow_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_json(arrow_type: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    """Whether the values are JSON, or have a single form as text."""
    kind = _plain(arrow_type)
    if types.is_struct(kind):
        return all(_is_json(kind.field(number).type) for number in range(kind.num_fields))
    if types.is_map(kind):
        return _is_text(kind.key_type) and _is_json(kind.item_type)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_json(kind.value_type)
    return _is_text(kind) or any(
        test(kind)
        for test in (
            types.is_null,
            types.is_boolean,
            types.is_integer,
            types.is_floating,
            types.is_decimal,
            types.is_timestamp,
            types.is_date,
            types.is_time,
        )
    )


_BY_TYPE: tuple[tuple[Callable[[Any], bool], Callable[[Any], list[Any]]], ...] = (
    (types.is_dictionary, lambda column: json_values(column.dictionary_decode())),
    (types.is_string_view, lambda column: _quick(column.cast(pa.string()))),
    (_is_text, _quick),
    (types.is_struct, _structs),
    (types.is_map, _maps),
    (types.is_list, _list_values),
    (types.is_large_list, _list_values),
    (types.is_fixed_size_list, _list_values),
    (types.is_decimal, _numbers),
    (types.is_timestamp, _timestamps),
    (types.is_date, _iso),
    (types.is_time, _iso),
)
"""The conversion of each type to JSON values. Numbers and booleans need none."""
