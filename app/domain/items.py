"""Checks the extractions handed in, and makes their ids."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from app.domain.ids import ExtractionId, ProjectId, uuid5_of
from app.domain.normal_form import composed
from app.domain.text import require_text
from app.errors import InvalidField, InvalidInput

_REQUIRED = ("source_uri", "extraction_type", "data")
_KNOWN = frozenset({*_REQUIRED, "source_group", "confidence", "metadata"})

OF_AN_ANSWER = frozenset(
    {
        "id",
        "project",
        "project_id",
        "source",
        "first_run_id",
        "last_run_id",
        "indexed",
        "set_aside_reason",
        "created_at",
        "changed_at",
    }
)
"""The fields that responses add to an extraction.

A response, which has ``id`` and ``project``, may be handed in as it is: these fields are ignored.
"""

_OF_A_REPLACE = frozenset({"gone", "observed_at"})

MAX_URI_CHARS = 2_000
"""The longest URI of a source, counted in NFC."""

MAX_LABEL_CHARS = 200
"""The longest group of a source, and the longest type of an extraction, counted in NFC."""

MOST_DECOMPOSED = 4
"""How many characters of a decomposed text become one character of its NFC, at most."""

MAX_DATA_BYTES = 4 * 2**20

MAX_METADATA_BYTES = 64 * 2**10
"""The largest metadata of an extraction or a run, as JSON."""

_INT64 = 2**63
_TOLD_CHARS = 100


@dataclass(frozen=True, slots=True)
class ItemLimits:
    """How long a string in an extraction's data may be, and how deep its JSON may be nested."""

    max_string_chars: int = 1_000_000
    max_depth: int = 64


_LIMITS = ItemLimits()


@dataclass(frozen=True, slots=True)
class Item:
    """A checked extraction, with all its texts in NFC.

    The id is made of the project, the source's URI, the type and ``canonical_data``. The source's
    group, ``confidence`` and ``metadata`` may change and aren't part of it.
    """

    source_uri: str
    source_group: str | None
    extraction_type: str
    confidence: float | None
    data: dict[str, Any]
    canonical_data: bytes
    metadata: dict[str, Any] | None = None


def extraction_id_of(project: ProjectId, item: Item) -> ExtractionId:
    """Return the UUIDv5 of the project, the source's URI, the type and the data's canonical JSON.

    The order of the keys, the Unicode normal form and the spelling of numbers (1, 1.0 and 1e0 are
    one number) don't change the id.
    """
    name = orjson.dumps([_nfc(item.source_uri), _nfc(item.extraction_type)]) + item.canonical_data
    return ExtractionId(uuid5_of(project, name))


def parse_item(raw: object, text_fields: Sequence[str], limits: ItemLimits = _LIMITS) -> Item:
    """Check one item, as decoded from JSON. The fields that a response adds are ignored.

    Raises:
        InvalidInput: it isn't an object, lacks a field, has an unknown or mistyped one, exceeds a
            limit, or has no text to embed. The message names the field and the reason.
    """
    if not isinstance(raw, dict):
        raise InvalidInput(f"an extraction is a JSON object, not {_kind(raw)}")
    missing = [name for name in _REQUIRED if name not in raw]
    if missing:
        raise InvalidField(missing[0], "missing")
    unknown = raw.keys() - _KNOWN
    if unknown and (unknown := unknown - OF_AN_ANSWER if is_answer(raw) else unknown):
        raise _unknown(min(unknown))
    data = raw["data"]
    if not isinstance(data, dict):
        raise InvalidField("data", f"must be a JSON object, not {_kind(data)}")
    canonical = orjson.dumps(_canonical(data, "data", 1, limits), option=orjson.OPT_SORT_KEYS)
    if len(canonical) > MAX_DATA_BYTES:
        raise InvalidField(
            "data", f"takes {len(canonical):,} bytes as JSON; at most {MAX_DATA_BYTES:,} are allowed"
        )
    data = _composed_texts(data)
    try:
        require_text(data, text_fields)
    except InvalidInput as error:
        raise InvalidField("data", str(error)) from error
    group = raw.get("source_group")
    return Item(
        source_uri=parse_label(raw["source_uri"], "source_uri", MAX_URI_CHARS),
        source_group=None if group is None else parse_label(group, "source_group"),
        extraction_type=parse_label(raw["extraction_type"], "extraction_type"),
        confidence=_confidence(raw.get("confidence")),
        data=data,
        canonical_data=canonical,
        metadata=parse_metadata(raw.get("metadata"), limits),
    )


def is_answer(raw: Mapping[str, object]) -> bool:
    """Whether this is an extraction from a response of agent-storage itself."""
    return "id" in raw and "project" in raw


def parse_metadata(value: object, limits: ItemLimits = _LIMITS) -> dict[str, Any] | None:
    """Check the metadata of an extraction or a run, and put its texts in NFC; None stays None.

    Raises:
        InvalidField: it isn't an object, exceeds a limit, or holds a value that can't be stored.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        raise InvalidField("metadata", f"must be a JSON object, not {_kind(value)}")
    size = len(orjson.dumps(_canonical(value, "metadata", 1, limits)))
    if size > MAX_METADATA_BYTES:
        raise InvalidField(
            "metadata", f"takes {size:,} bytes as JSON; at most {MAX_METADATA_BYTES:,} are allowed"
        )
    metadata: dict[str, Any] = _composed_texts(value)
    return metadata


def _unknown(field: str) -> InvalidField:
    if field in _OF_A_REPLACE:
        return InvalidField(field, "belongs to a replace; use replace=source or replace=project")
    return InvalidField(field, f"unknown; the fields are {', '.join(sorted(_KNOWN))}")


def parse_label(value: object, field: str, limit: int = MAX_LABEL_CHARS) -> str:
    """Check a short text, such as a type, a group or a source's URI, and put it in NFC.

    Raises:
        InvalidField: it isn't a text, is blank, too long, or can't be stored.
    """
    if not isinstance(value, str):
        raise InvalidField(field, f"must be a string, not {_kind(value)}")
    if not value.strip():
        raise InvalidField(field, "must not be empty")
    if len(value) <= MOST_DECOMPOSED * limit:  # a longer one is too long in every form
        value = composed(_storable(value, field), field)
    if len(value) > limit:
        raise InvalidField(field, f"has {len(value):,} characters; at most {limit:,} are allowed")
    return value


def _confidence(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidField("confidence", f"must be a number from 0 to 1, not {_kind(value)}")
    if not 0 <= value <= 1:
        raise InvalidField("confidence", "must be from 0 to 1")
    return float(value)


def _canonical(value: object, field: str, depth: int, limits: ItemLimits) -> object:
    """Return the canonical form that ids are made of; reject what a store would alter or reject."""
    if isinstance(value, str):
        if len(value) > limits.max_string_chars:
            raise InvalidField(
                field, f"has {len(value):,} characters; at most {limits.max_string_chars:,} are allowed"
            )
        return composed(_storable(value, field), field)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _canonical_number(value, field)
    if depth > limits.max_depth:
        raise InvalidField(
            field.split(".", maxsplit=1)[0], f"is nested more than {limits.max_depth} levels deep"
        )
    if isinstance(value, Mapping):
        members = {
            composed(_storable(key, field), field): _canonical(member, _member(field, key), depth + 1, limits)
            for key, member in value.items()
        }
        if len(members) < len(value):
            raise InvalidField(
                field, f"has the key {_twice(value)!r} twice, in two Unicode forms; keep one of them"
            )
        return members
    if isinstance(value, list):
        return [_canonical(member, field, depth + 1, limits) for member in value]
    raise InvalidField(field, f"{_kind(value)} isn't a JSON value")


def _composed_texts(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    """Return the value with its texts and keys in NFC; its numbers stay as they are."""
    if isinstance(value, str):
        return composed(value, "data")
    if isinstance(value, Mapping):
        return {composed(key, "data"): _composed_texts(member) for key, member in value.items()}
    return [_composed_texts(member) for member in value] if isinstance(value, list) else value


def _member(field: str, key: str) -> str:
    """Return a member's name for errors. Errors cut names, so a long one isn't extended further."""
    return f"{field}.{key[:_TOLD_CHARS]}" if len(field) < _TOLD_CHARS else field


def _canonical_number(value: float, field: str) -> float:
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise InvalidField(field, "an integer outside 64 bits; write it as a string")
        return value
    if not math.isfinite(value):
        raise InvalidField(field, f"{value} isn't a JSON number")
    return int(value) if value.is_integer() and abs(value) < _INT64 else value


def _storable(value: str, field: str) -> str:
    """Reject NUL, which PostgreSQL can't store, and lone surrogates, which UTF-8 can't encode."""
    if "\0" in value:
        raise InvalidField(field, "contains the character U+0000")
    try:
        value.isascii() or value.encode()
    except UnicodeEncodeError as error:
        raise InvalidField(field, f"contains a lone surrogate at character {error.start + 1}") from None
    return value


def _nfc(value: str) -> str:
    return value if value.isascii() else unicodedata.normalize("NFC", value)


def _twice(keys: Iterable[str]) -> str:
    (key, _), *_ = Counter(map(_nfc, keys)).most_common(1)
    return key


def _kind(value: object) -> str:
    """Return the name that JSON has for a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
