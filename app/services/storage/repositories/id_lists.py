"""Any number of ids in one statement, as one bound value."""

import re
from collections.abc import Collection
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, ColumnElement, Uuid, any_, bindparam, cast, func, select
from sqlalchemy.types import NullType

Ids = Collection[UUID | str]

_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def among(column: ColumnElement[UUID], ids: Ids, dialect: str) -> ColumnElement[bool]:
    """``column`` is one of ``ids``; what isn't a UUID is no row's id, and left out."""
    # Validating text takes as long as a tenth of an update; a UUID needs none.
    known: Ids = (
        list(ids) if set(map(type, ids)) == {UUID} else [text for text in map(_canonical, texts(ids)) if text]
    )
    if dialect == "postgresql":
        return column == any_(cast(bindparam(None, texts(known), NullType()), ARRAY(Uuid)))
    document = bindparam(None, orjson.dumps(known).decode(), NullType())
    return column.in_(select(func.json_each(document).table_valued("value").c.value))


def texts(ids: Ids) -> list[str]:
    """The ids as text; several times as fast as ``str`` on each."""
    spelled: list[str] = orjson.loads(orjson.dumps(list(ids)))
    return spelled


def _canonical(text: str) -> str | None:
    if _CANONICAL.fullmatch(text):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return None
