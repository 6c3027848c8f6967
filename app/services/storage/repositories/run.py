"""The repository of runs: named passes of a pipeline, with the counts of their changes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, delete, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from app.domain.ids import ProjectId, RunId
from app.domain.outcomes import Counts
from app.domain.rows import RunRow, RunRows
from app.errors import NotFound, RunEnded
from app.models import Run, UtcDateTime, UuidText
from app.services.storage.repositories.clock import now

_TABLE = Run.__table__
_ROW = [_TABLE.c[name] for name in RunRow._fields]


class RunRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def begin(
        self,
        project_id: ProjectId,
        name: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        run_id: RunId | None = None,
        undoes: RunId | None = None,
    ) -> RunId:
        """Begin a run, and return its id; a no-op if ``run_id`` exists."""
        if run_id is not None and self._session.get(Run, run_id) is not None:
            return run_id
        given = {} if run_id is None else {"id": run_id}
        moment = self._session.scalar(select(now(self._dialect)))
        run = Run(
            project_id=project_id, name=name, run_metadata=metadata, undoes=undoes, begun_at=moment, **given
        )
        self._session.add(run)
        self._session.flush()
        return run.id

    def get(self, project_id: ProjectId, run_id: RunId) -> RunRow:
        """One of a project's runs.

        Raises:
            NotFound: the project has no run with that id.
        """
        found = self._rows(select(*_ROW).where(_TABLE.c.id == run_id, _TABLE.c.project_id == project_id))
        if not found:
            raise NotFound("run", run_id)
        return found[0]

    def find_named(self, project_id: ProjectId, name: str) -> RunRow | None:
        """A project's newest run with that name, or None."""
        query = select(*_ROW).where(_TABLE.c.project_id == project_id, _TABLE.c.name == name)
        found = self._rows(query.order_by(_TABLE.c.begun_at.desc(), _TABLE.c.id.desc()).limit(1))
        return found[0] if found else None

    def require_open(self, project_id: ProjectId, run_id: RunId) -> None:
        """Make sure that a project's run is open, and keep it open until the transaction ends.

        Raises:
            NotFound: the project has no such run.
            RunEnded: the run has ended.
        """
        self._session.execute(_locked(run_id).with_for_update(read=True, key_share=True))
        if self.get(project_id, run_id).ended_at is not None:
            raise RunEnded(run_id)

    def list(
        self, project_id: ProjectId, *, after: tuple[datetime, RunId] | None = None, limit: int
    ) -> RunRows:
        """A project's runs, the newest first: the next ``limit`` after (begun_at, id)."""
        query = select(*_ROW).where(_TABLE.c.project_id == project_id)
        if after is not None:
            place = (bindparam(None, after[0], UtcDateTime), bindparam(None, after[1], UuidText))
            query = query.where(tuple_(_TABLE.c.begun_at, _TABLE.c.id) < tuple_(*place))
        return self._rows(query.order_by(_TABLE.c.begun_at.desc(), _TABLE.c.id.desc()).limit(limit))

    def first_change(self, run_id: RunId) -> int | None:
        """The number of the run's first ledger entry; None if it changed nothing."""
        return self._session.scalar(select(_TABLE.c.first_change).where(_TABLE.c.id == run_id))

    def undoings_of(self, run_id: RunId) -> set[RunId]:
        """The runs that undo this one."""
        return set(self._session.scalars(select(_TABLE.c.id).where(_TABLE.c.undoes == run_id)))

    def standing_undoing_of(self, run_id: RunId) -> RunId | None:
        """The newest run that undoes this one and isn't undone itself; None without one.

        It has changed something, perhaps while another undo ran, or else has ended.
        """
        changed = _TABLE.c.first_change.is_not(None)
        undoing = select(_TABLE.c.id).where(
            _TABLE.c.undoes == run_id, or_(changed, _TABLE.c.ended_at.is_not(None))
        )
        newest_first = undoing.order_by(changed.desc(), _TABLE.c.begun_at.desc(), _TABLE.c.id.desc())
        undoings = self._session.scalars(newest_first).all()
        return next((id_ for id_ in undoings if self.standing_undoing_of(id_) is None), None)

    def delete(self, run_id: RunId) -> None:
        """Delete a run that changed nothing."""
        self._session.execute(delete(_TABLE).where(_TABLE.c.id == run_id))

    def count(self, run_id: RunId, counts: Counts) -> None:
        """Add to the counts of the run's changes."""
        added = {
            name: _TABLE.c[name] + getattr(counts, name)
            for name in ("added", "changed", "unchanged", "removed")
        }
        self._session.execute(update(_TABLE).where(_TABLE.c.id == run_id).values(added))

    def end(self, run_id: RunId) -> None:
        """End the run once all transactions that use it have ended; no-op if it has ended."""
        self._session.execute(_locked(run_id).with_for_update())
        ended = func.coalesce(_TABLE.c.ended_at, now(self._dialect))
        self._session.execute(update(_TABLE).where(_TABLE.c.id == run_id).values(ended_at=ended))

    def _rows(self, query: Select[Any]) -> RunRows:
        return [RunRow(*row) for row in self._session.execute(query)]


def _locked(run_id: RunId) -> Select[Any]:
    return select(_TABLE.c.id).where(_TABLE.c.id == run_id)
