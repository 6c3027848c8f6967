"""What made the vectors of the index, and whose index it is."""

from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.models import IndexState, StoreIdentity

_ROW = 1
_LOCK = 0x696E646578  # any number, the same in every process


class IndexStateRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self) -> IndexState | None:
        """What made the vectors; None before the first index was made."""
        return self._session.get(IndexState, _ROW, populate_existing=True)

    def get_for_marking(self) -> IndexState | None:
        """As :meth:`get`; a rebuild begins before this transaction or after it, and not in its midst."""
        self._lock(func.pg_advisory_xact_lock_shared(_LOCK))
        return self.get()

    def get_for_rebuilding(self) -> IndexState | None:
        """As :meth:`get`, once every transaction that marks rows has ended; none begins until this one has."""
        self._lock(func.pg_advisory_xact_lock(_LOCK))
        return self.get()

    def put(  # noqa: PLR0913 - each is a column
        self, name: str, version: str, dimension: int, *, texts: str, rebuilding: bool, generation: int = 0
    ) -> IndexState:
        """Say which embedder makes the vectors from now on, of which texts, and whether they are being rebuilt."""
        state = self._session.merge(
            IndexState(
                id=_ROW,
                embedder_name=name,
                embedder_version=version,
                dimension=dimension,
                rebuilding=rebuilding,
                generation=generation,
                texts=texts,
            )
        )
        self._session.flush()
        return state

    def find_store_id(self) -> UUID | None:
        """This store's own id; None before it has one."""
        return self._session.scalar(select(StoreIdentity.store_id))

    def make_store_id(self) -> UUID:
        """Give this store an id, unless another process has just done so; returns the one it has."""
        insert = postgresql.insert if self._session.get_bind().dialect.name == "postgresql" else sqlite.insert
        made = insert(StoreIdentity).values(id=_ROW, store_id=uuid4()).on_conflict_do_nothing()
        self._session.execute(made)
        return self._session.execute(select(StoreIdentity.store_id)).scalar_one()

    def _lock(self, taking: ColumnElement[None]) -> None:
        """Until the transaction ends; on SQLite the write lock does the same."""
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.execute(select(taking))
