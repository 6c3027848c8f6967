"""The two kinds of transaction: one that reads and one that writes, as execution options of an engine."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Engine

ACCESS = "agent_storage_access"
"""The option that says what a transaction is for: ``read``, ``write`` or, unset, the driver's own way."""

READING: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {ACCESS: "read"},
    "postgresql": {ACCESS: "read", "postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
}
"""By dialect: a transaction that can't write, over one consistent view."""

WRITING: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {ACCESS: "write"},
    "postgresql": {ACCESS: "write", "isolation_level": "READ COMMITTED"},
}
"""By dialect: a transaction that takes SQLite's write lock at its first statement. What has to hold between PostgreSQL's is
locked, so a role whose transactions are stricter would only have some of them fail."""


def is_reading(connection: Connection | None) -> bool:
    """Whether the connection is for transactions that only read."""
    return connection is not None and connection.get_execution_options().get(ACCESS) == "read"


def begin_write(engine: Engine) -> AbstractContextManager[Connection]:
    """A connection in a write transaction, committed at the end, for synchronous code without a session."""
    return engine.execution_options(**WRITING[engine.dialect.name]).begin()
