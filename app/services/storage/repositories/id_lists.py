"""Pass any number of ids to a statement as one bound value."""

import re
from collections.abc import Collection
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import ARRAY, BindParameter, ColumnElement, Uuid, any_, bindparam, cast, func, select
from sqlalchemy.types import NullType

Ids = Collection[UUID | str]

_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def among(column: ColumnElement[UUID], ids: Ids, dialect: str) -> ColumnElement[bool]:
    """``column`` is one of ``ids``. Ids that aren't UUIDs are left out: no row has them."""
    return among_bound(column, bindparam(None, bound(ids, dialect), NullType()), dialect)


def among_bound(column: ColumnElement[UUID], ids: BindParameter[Any], dialect: str) -> ColumnElement[bool]:
    """``column`` is one of the ids bound to ``ids``, for cached statements; see :func:`bound`."""
    if dialect == "postgresql":
        return column == any_(cast(ids, ARRAY(Uuid)))
    return column.in_(select(func.json_each(ids).table_valued("value").c.value))


def bound(ids: Ids, dialect: str) -> list[str] | str:
    """``ids`` as one bound value: an array on PostgreSQL, JSON on SQLite."""
    known = [text for text in map(_canonical, texts(ids)) if text]
    return known if dialect == "postgresql" else orjson.dumps(known).decode()


def texts(ids: Ids) -> list[str]:
    """The ids as text; several times faster than calling ``str`` on each."""
    spelled: list[str] = orjson.loads(orjson.dumps(list(ids)))
    return spelled


def _canonical(text: str) -> str | None:
    if _CANONICAL.fullmatch(text):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return None
