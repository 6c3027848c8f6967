"""Read-only and writing transactions, as execution options of an engine."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Engine

ACCESS = "agent_storage_access"
"""The option for a transaction's access: ``read``, ``write`` or, unset, the driver's default."""

READING: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {ACCESS: "read"},
    "postgresql": {ACCESS: "read", "postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
}
"""By dialect: a transaction that can't write, and reads from one snapshot."""

WRITING: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {ACCESS: "write"},
    "postgresql": {ACCESS: "write", "isolation_level": "READ COMMITTED"},
}
"""By dialect: a transaction that writes; on SQLite its first statement takes the write lock.

On PostgreSQL the code takes the row locks that it needs. So the isolation level is set to READ
COMMITTED, because with a role's stricter default, transactions would only fail more often.
"""


def is_reading(connection: Connection | None) -> bool:
    """Whether the connection is for transactions that only read."""
    return connection is not None and connection.get_execution_options().get(ACCESS) == "read"


def begin_write(engine: Engine) -> AbstractContextManager[Connection]:
    """Open a connection in a write transaction, committed at the end, for use without a session."""
    return engine.execution_options(**WRITING[engine.dialect.name]).begin()
