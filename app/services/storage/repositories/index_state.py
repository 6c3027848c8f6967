"""What made the vectors of the index."""

from sqlalchemy.orm import Session

from app.models import IndexState

_ROW = 1


class IndexStateRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self) -> IndexState | None:
        """What made the vectors; None before the first index was made."""
        return self._session.get(IndexState, _ROW, populate_existing=True)

    def put(self, name: str, version: str, dimension: int, *, rebuilding: bool) -> IndexState:
        """Say which embedder makes the vectors from now on, and whether they are being made anew."""
        state = self._session.merge(
            IndexState(
                id=_ROW,
                embedder_name=name,
                embedder_version=version,
                dimension=dimension,
                rebuilding=rebuilding,
            )
        )
        self._session.flush()
        return state
