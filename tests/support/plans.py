"""Query plans, which show the index that a statement uses."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event

from app.database import WriteSession
from app.sql.transactions import begin_write


def plan(engine: Engine, work: Callable[[Any], Any]) -> str:
    """Return the database's plan for the last statement of ``work``; the tables mustn't be empty.

    The tables are vacuumed and analysed first; with autovacuum, the plan would depend on the time.
    PostgreSQL is set to avoid sequential scans and sorting, as it does on large tables.
    """
    sent: list[tuple[str, Any]] = []

    def note(
        _connection: Connection, _cursor: object, statement: str, parameters: Any, *_others: object
    ) -> None:
        sent.append((statement, parameters))

    postgres = engine.dialect.name == "postgresql"
    _analyze(engine)
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


def _analyze(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    else:
        with begin_write(engine) as connection:
            connection.exec_driver_sql("ANALYZE")
