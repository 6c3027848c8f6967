"""What a statement changed."""

from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import Session


def rows_changed(session: Session, statement: Update | Delete) -> int:
    """Execute ``statement`` and return how many rows it changed or deleted."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount
