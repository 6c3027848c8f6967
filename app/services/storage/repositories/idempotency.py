"""Stored answers to requests with an ``Idempotency-Key``."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import IdempotencyConflict
from app.models import IdempotencyKey
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.statements import rows_changed

KEPT_S = 24 * 3600.0
"""How long a key is kept, in seconds."""

_TABLE = IdempotencyKey.__table__


class IdempotencyRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def find(self, key: str, part: int, fingerprint: str) -> dict[str, Any] | None:
        """The stored answer to this part of a request; None for a new part, which it then locks.

        Raises:
            IdempotencyConflict: the key was used for another request.
        """
        if self._dialect == "postgresql":
            # Held until the transaction ends; on SQLite the write lock does the same.
            self._session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, part))))
        row = self._session.execute(
            select(_TABLE.c.fingerprint, _TABLE.c.answer).where(_TABLE.c.key == key, _TABLE.c.part == part)
        ).one_or_none()
        if row is None:
            return None
        if row.fingerprint != fingerprint:
            raise IdempotencyConflict(key)
        answer: dict[str, Any] = row.answer
        return answer

    def add(self, key: str, part: int, fingerprint: str, answer: Mapping[str, Any]) -> None:
        """Store the answer to a part of a request for which :meth:`find` found none."""
        self._session.add(IdempotencyKey(key=key, part=part, fingerprint=fingerprint, answer=dict(answer)))
        self._session.flush()

    def prune(self) -> int:
        """Delete the keys that are older than a day, and return how many parts they had."""
        old = _TABLE.c.created_at < now(self._dialect, plus_s=-KEPT_S)
        return rows_changed(self._session, delete(_TABLE).where(old))
