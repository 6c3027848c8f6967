"""Statements that change rows: what they changed, and how long they may take."""

from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import Session

from app.sql.postgres import NO_TIME_LIMITS


def rows_changed(session: Session, statement: Update | Delete) -> int:
    """Execute ``statement`` and return how many rows it changed or deleted."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def lift_time_limits(session: Session) -> None:
    """Let the rest of this transaction take as long as it wants, for a statement that changes rows without number."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().exec_driver_sql(NO_TIME_LIMITS)
