"""Sources: where extractions were taken from."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from app.domain.ids import ProjectId, SourceId, source_id_of
from app.domain.normal_form import composed
from app.models import Source
from app.services.storage.repositories.bulk_insert import insert_new
from app.services.storage.repositories.id_lists import among

_TABLE = Source.__table__

SourceIds = dict[str, SourceId]


class SourceRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_batch(
        self, project_id: ProjectId, sources: Iterable[tuple[str, str | None]]
    ) -> tuple[SourceIds, set[SourceId]]:
        """Store the sources, given as (URI, group); return every URI's id, and the sources whose group changed.

        The last group given for a source is its group; a source given without one keeps the one it has. The id
        tells sources apart, and no index holds a URI: PostgreSQL's take 2,704 bytes.
        """
        ids: SourceIds = {}
        groups: dict[SourceId, tuple[str, str | None]] = {}
        for uri, group in sources:
            id_ = ids.get(uri)
            if id_ is None:
                id_ = ids[uri] = source_id_of(project_id, uri)
                if id_ not in groups:
                    groups[id_] = (composed(uri, "source_uri"), _composed(group))
                    continue
            if group is not None and group != groups[id_][1]:
                groups[id_] = (groups[id_][0], _composed(group))
        columns: dict[str, list[Any]] = {
            "id": list(groups),
            "project_id": [project_id] * len(groups),
            "uri": [uri for uri, _ in groups.values()],
            "source_group": [group for _, group in groups.values()],
        }
        new = insert_new(self._session, _TABLE, columns)
        given = {id_: group for id_, (_, group) in groups.items() if id_ not in new and group is not None}
        return ids, self._regroup(given)

    def _regroup(self, groups: Mapping[SourceId, str]) -> set[SourceId]:
        """Give stored sources these groups; return those that had another."""
        if not groups:
            return set()
        dialect = self._session.get_bind().dialect.name
        stored = self._session.execute(
            select(_TABLE.c.id, _TABLE.c.source_group).where(among(_TABLE.c.id, groups, dialect))
        )
        # In the order of ids, so that two transactions that change the same rows don't deadlock.
        changed = sorted(id_ for id_, group in stored.all() if group != groups[id_])
        if changed:
            # Whoever is adding extractions to them ends first, so that the caller sees all that must follow.
            chosen = select(_TABLE.c.id).where(among(_TABLE.c.id, changed, dialect))
            self._session.execute(chosen.order_by(_TABLE.c.id).with_for_update()).all()
            statement = (
                update(_TABLE)
                .where(_TABLE.c.id == bindparam("source"))
                .values(source_group=bindparam("group_now"))
            )
            self._session.execute(statement, [{"source": id_, "group_now": groups[id_]} for id_ in changed])
        return set(changed)


def _composed(group: str | None) -> str | None:
    return None if group is None else composed(group, "source_group")
