"""The state of the index: what made its vectors, and which store owns it."""

from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.models import IndexState, StoreIdentity

_ROW = 1
_LOCK = 0x696E646578  # arbitrary, but the same in every process


class IndexStateRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self) -> IndexState | None:
        """The state of the index; None before the first was created."""
        return self._session.get(IndexState, _ROW, populate_existing=True)

    def get_for_marking(self) -> IndexState | None:
        """Like :meth:`get`, and keep rebuilds from beginning until this transaction ends."""
        self._lock(func.pg_advisory_xact_lock_shared(_LOCK))
        return self.get()

    def get_for_rebuilding(self) -> IndexState | None:
        """Like :meth:`get`, and exclude transactions that mark rows until this one ends."""
        self._lock(func.pg_advisory_xact_lock(_LOCK))
        return self.get()

    def put(  # noqa: PLR0913 - each is a column
        self, name: str, version: str, dimension: int, *, texts: str, rebuilding: bool, generation: int = 0
    ) -> IndexState:
        """Store the embedder and texts of the index, and whether it is being rebuilt."""
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
        """This store's id; None before it has one."""
        return self._session.scalar(select(StoreIdentity.store_id))

    def make_store_id(self) -> UUID:
        """Give this store an id unless it has one by now; return its id."""
        insert = postgresql.insert if self._session.get_bind().dialect.name == "postgresql" else sqlite.insert
        made = insert(StoreIdentity).values(id=_ROW, store_id=uuid4()).on_conflict_do_nothing()
        self._session.execute(made)
        return self._session.execute(select(StoreIdentity.store_id)).scalar_one()

    def _lock(self, taking: ColumnElement[None]) -> None:
        """Take a lock until the transaction ends; on SQLite the write lock does the same."""
        if self._session.get_bind().dialect.name == "postgresql":
            self._session.execute(select(taking))
