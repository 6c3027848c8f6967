"""Query plans: which index a statement uses."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event

from app.database import WriteSession
from app.sql.transactions import begin_write


def plan(engine: Engine, work: Callable[[Any], Any]) -> str:
    """How the database would run the last statement of ``work`` over what its tables hold; they mustn't be empty.

    They are vacuumed and analysed first, as autovacuum does some time or other: the plan would
    depend on when. PostgreSQL is told to avoid reading whole tables and sorting, as it would avoid
    them on large tables.
    """
    sent: list[tuple[str, Any]] = []

    def note(
        _connection: Connection, _cursor: object, statement: str, parameters: Any, *_others: object
    ) -> None:
        sent.append((statement, parameters))

    postgres = engine.dialect.name == "postgresql"
    _put_in_order(engine)
    with WriteSession(engine) as session:
        event.listen(engine, "before_cursor_execute", note)
        work(session)
        event.remove(engine, "before_cursor_execute", note)
        statement, parameters = sent[-1]
        connection = session.connection()
        if postgres:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            connection.exec_driver_sql("SET LOCAL enable_sort = off")
        explain = "EXPLAIN " if postgres else "EXPLAIN QUERY PLAN "
        rows = connection.exec_driver_sql(explain + statement, parameters).all()
        return "\n".join(str(row[-1]) for row in rows)


def _put_in_order(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    else:
        with begin_write(engine) as connection:
            connection.exec_driver_sql("ANALYZE")
