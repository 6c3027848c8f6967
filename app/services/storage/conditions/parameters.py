"""The values of a condition, which are always bound and never part of the statement's text."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.types import NullType, TypeEngine


class Parameters:
    """Bound values, and their names in the SQL text."""

    def __init__(self) -> None:
        self.bound: list[BindParameter[Any]] = []

    def add(self, value: object, type_: TypeEngine[Any] | None = None) -> str:
        """Bind a value; return its placeholder."""
        name = f"w{len(self.bound)}"
        self.bound.append(bindparam(name, value, type_ or NullType()))
        return f":{name}"

    def add_each(self, values: Iterable[object]) -> str:
        """Bind several values; return their placeholders, joined by commas."""
        return ", ".join(map(self.add, values))
