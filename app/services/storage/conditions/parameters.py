"""The values of a condition, which are never part of its statement."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import BindParameter, bindparam
from sqlalchemy.types import NullType, TypeEngine


class Parameters:
    """Values that are bound, and the names that stand for them in the text of SQL."""

    def __init__(self) -> None:
        self.bound: list[BindParameter[Any]] = []

    def add(self, value: object, type_: TypeEngine[Any] | None = None) -> str:
        """What stands for the value in the text."""
        name = f"w{len(self.bound)}"
        self.bound.append(bindparam(name, value, type_ or NullType()))
        return f":{name}"

    def add_each(self, values: Iterable[object]) -> str:
        """What stands for the values, joined by commas."""
        return ", ".join(map(self.add, values))
