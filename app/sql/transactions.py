"""The two kinds of transaction: one that reads and one that writes, as execution options of an engine."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import Connection, Engine

ACCESS = "agent_storage_access"
"""The option that tells SQLite's connections how to begin: ``read``, ``write`` or, unset, SQLite's own way."""

READING: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {ACCESS: "read"},
    "postgresql": {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
}
"""By dialect: a transaction that can't write, over one consistent view."""

WRITING: Mapping[str, Any] = {ACCESS: "write"}
"""A transaction that takes SQLite's write lock at its first statement."""


def begin_write(engine: Engine) -> AbstractContextManager[Connection]:
    """A connection in a write transaction, committed at the end, for synchronous code without a session."""
    return engine.execution_options(**WRITING).begin()
