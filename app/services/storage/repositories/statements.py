"""Statements that change rows: their row counts and time limits."""

from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update
from sqlalchemy.orm import Session

from app.sql.postgres import NO_TIME_LIMITS


def rows_changed(session: Session, statement: Update | Delete) -> int:
    """Execute ``statement`` and return how many rows it changed or deleted."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def lift_time_limits(session: Session) -> None:
    """Lift the time limits for the rest of this transaction, for unbounded changes of rows."""
    if session.get_bind().dialect.name == "postgresql":
        session.connection().exec_driver_sql(NO_TIME_LIMITS)
