"""What was answered to requests that carry an ``Idempotency-Key``."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.errors import IdempotencyConflict
from app.models import IdempotencyKey
from app.services.storage.repositories.clock import now
from app.services.storage.repositories.statements import rows_changed

KEPT_S = 24 * 3600.0
"""How long a key is remembered."""

_TABLE = IdempotencyKey.__table__


class IdempotencyRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def find(self, key: str, part: int, fingerprint: str) -> dict[str, Any] | None:
        """The answer that this part of a request got before; None for a new one, which then is nobody else's.

        Raises:
            IdempotencyConflict: the key was used for another request.
        """
        if self._dialect == "postgresql":
            # Until the transaction ends; on SQLite the write lock does the same.
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
        """Keep the answer to a part of a request for which :meth:`find` found none."""
        self._session.add(IdempotencyKey(key=key, part=part, fingerprint=fingerprint, answer=dict(answer)))
        self._session.flush()

    def prune(self) -> int:
        """Forget the keys that are older than a day; returns how many parts there were."""
        old = _TABLE.c.created_at < now(self._dialect, plus_s=-KEPT_S)
        return rows_changed(self._session, delete(_TABLE).where(old))
