"""Sources: where extractions were taken from."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Select, Text, bindparam, cast, exists, func, select, true, update
from sqlalchemy.orm import Session

from app.domain.ids import ProjectId, SourceId, source_id_of
from app.domain.normal_form import composed
from app.domain.rows import SourceRow, SourceRows
from app.domain.sources import SourceFilters
from app.errors import NotFound
from app.models import Extraction, Source, parse_moment
from app.services.storage.repositories.bulk_insert import insert_new
from app.services.storage.repositories.id_lists import Ids, among, texts

_TABLE = Source.__table__
_EXTRACTIONS = Extraction.__table__

SourceIds = dict[str, SourceId]
SourceUris = list[tuple[SourceId, str]]


class StoredSources(NamedTuple):
    """Sources that are there now: their ids by URI, those that were new, and the groups of those that had another."""

    ids: SourceIds
    new: set[SourceId]
    regrouped: dict[SourceId, tuple[str | None, str | None]]


class HeldSource(NamedTuple):
    """A source that is locked: others neither change nor add to it until the transaction ends."""

    id: SourceId
    is_new: bool
    group: str | None
    observed_at: datetime | None


class SourceRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create_batch(self, project_id: ProjectId, sources: Iterable[tuple[str, str | None]]) -> StoredSources:
        """Store the sources, given as (URI, group).

        The last group given for a source is its group; a source given without one keeps the one it
        has. The id tells sources apart, and no index holds a URI: PostgreSQL's take 2,704 bytes.
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
        new = self._insert(project_id, groups)
        known = {id_: group for id_, (_, group) in groups.items() if id_ not in new}
        return StoredSources(ids, new, self._share(known))

    def hold_batch(
        self, project_id: ProjectId, uris: Collection[str], *, others: Collection[SourceId] = ()
    ) -> dict[SourceId, HeldSource]:
        """Store these sources where they aren't there yet, and lock them and the ``others`` by order of id."""
        given = {source_id_of(project_id, uri): uri for uri in uris}
        if self._dialect == "sqlite":
            held = self._held_on_sqlite([*given, *others])
            new = self._insert_bare(project_id, {id_: uri for id_, uri in given.items() if id_ not in held})
            return held | {id_: HeldSource(id_, is_new=True, group=None, observed_at=None) for id_ in new}
        new = self._insert_bare(project_id, given)
        chosen = among(_TABLE.c.id, [*given, *others], self._dialect)
        query = select(_TABLE.c.id, _TABLE.c.source_group, _TABLE.c.observed_at).where(chosen)
        rows = self._session.execute(query.order_by(_TABLE.c.id).with_for_update()).all()
        return {row.id: HeldSource(row.id, row.id in new, row.source_group, row.observed_at) for row in rows}

    def regroup(self, groups: Mapping[SourceId, str | None]) -> None:
        """Put sources into these groups."""
        if groups:
            statement = (
                update(_TABLE)
                .where(_TABLE.c.id == bindparam("source"))
                .values(source_group=bindparam("group_now"))
            )
            self._session.execute(
                statement, [{"source": id_, "group_now": group} for id_, group in sorted(groups.items())]
            )

    def set_observed_at(self, ids: Ids, moment: datetime | None) -> None:
        """Note when what these sources were replaced with was observed; one statement."""
        if ids:
            chosen = among(_TABLE.c.id, ids, self._dialect)
            self._session.execute(update(_TABLE).where(chosen).values(observed_at=moment))

    def get(self, project_id: ProjectId, source_id: SourceId) -> SourceRow:
        """One of a project's sources.

        Raises:
            NotFound: it has none of that id.
        """
        chosen = (_TABLE.c.id == source_id, _TABLE.c.project_id == project_id)
        row = self._session.execute(_with_counts().where(*chosen)).one_or_none()
        if row is None:
            raise NotFound("source", source_id)
        return SourceRow(*row)

    def list(
        self, project_id: ProjectId, filters: SourceFilters, *, after: SourceId | None = None, limit: int
    ) -> SourceRows:
        """A project's sources that pass the filters, by id: the ``limit`` next after ``after``."""
        query = _with_counts().where(
            _TABLE.c.project_id == project_id,
            _TABLE.c.source_group.in_(filters.source_groups) if filters.source_groups else true(),
            true() if filters.uri_prefix is None else _begins_with(filters.uri_prefix),
            true() if filters.gone is None else (_no_facts() if filters.gone else ~_no_facts()),
            true() if after is None else _TABLE.c.id > after,
        )
        return [SourceRow(*row) for row in self._session.execute(query.order_by(_TABLE.c.id).limit(limit))]

    def with_facts(self, project_id: ProjectId, *, after: SourceId | None = None, limit: int) -> SourceUris:
        """The ids and URIs of a project's sources that have extractions: the ``limit`` next after ``after``."""
        query = select(_TABLE.c.id, _TABLE.c.uri).where(
            _TABLE.c.project_id == project_id, ~_no_facts(), true() if after is None else _TABLE.c.id > after
        )
        return [(row.id, row.uri) for row in self._session.execute(query.order_by(_TABLE.c.id).limit(limit))]

    def lock(self, ids: Ids) -> None:
        """Lock these sources by order of id: others neither change nor add to them until the transaction ends."""
        chosen = among(_TABLE.c.id, ids, self._dialect)
        self._session.execute(select(_TABLE.c.id).where(chosen).order_by(_TABLE.c.id).with_for_update()).all()

    def find(self, source_id: SourceId) -> SourceRow | None:
        """A source, if there is one of that id."""
        row = self._session.execute(_with_counts().where(_TABLE.c.id == source_id)).one_or_none()
        return None if row is None else SourceRow(*row)

    def missing(self, ids: Collection[SourceId]) -> set[SourceId]:
        """Those of the ids that no source has."""
        chosen = among(_TABLE.c.id, ids, self._dialect)
        return set(ids) - set(self._session.scalars(select(_TABLE.c.id).where(chosen)))

    def restore(self, rows: Sequence[SourceRow]) -> set[SourceId]:
        """Store sources again that were deleted, as they were; returns those that weren't there."""
        values = [{**row._asdict(), "source_group": row.group} for row in rows]
        columns = {column.name: [each[column.name] for each in values] for column in _TABLE.c}
        return {SourceId(id_) for id_ in insert_new(self._session, _TABLE, columns)} if rows else set()

    def delete_empty(self, ids: Ids) -> set[SourceId]:
        """Delete those of the sources that have no extractions; returns their ids."""
        chosen = among(_TABLE.c.id, ids, self._dialect)
        return set(self._session.scalars(_TABLE.delete().where(chosen, _no_facts()).returning(_TABLE.c.id)))

    def _insert(
        self, project_id: ProjectId, sources: Mapping[SourceId, tuple[str, str | None]]
    ) -> set[SourceId]:
        columns: dict[str, list[Any]] = {
            "id": list(sources),
            "project_id": [project_id] * len(sources),
            "uri": [uri for uri, _ in sources.values()],
            "source_group": [group for _, group in sources.values()],
        }
        return {SourceId(id_) for id_ in insert_new(self._session, _TABLE, columns)}

    def _insert_bare(self, project_id: ProjectId, uris: Mapping[SourceId, str]) -> set[SourceId]:
        """Store these sources without a group, where they aren't there yet; returns the ids of those."""
        given = {id_: (composed(uri, "source_uri"), None) for id_, uri in uris.items()}
        return self._insert(project_id, given) if given else set()

    def _held_on_sqlite(self, ids: Sequence[SourceId]) -> dict[SourceId, HeldSource]:
        """Those that are there; the write lock holds them. One JSON document, as in :mod:`.facts`."""
        row = func.json_array(cast(_TABLE.c.id, Text), _TABLE.c.source_group, cast(_TABLE.c.observed_at, Text))
        found = select(func.json_group_array(row)).where(among(_TABLE.c.id, ids, self._dialect))
        known = dict(zip(texts(ids), ids, strict=True))
        rows = orjson.loads(self._session.scalar(found) or "[]")
        return {
            known[text]: HeldSource(known[text], is_new=False, group=group, observed_at=moment)
            for text, group, observed in rows
            for moment in [observed and parse_moment(observed)]
        }

    def _share(self, groups: Mapping[SourceId, str | None]) -> dict[SourceId, tuple[str | None, str | None]]:
        """Lock stored sources by order of id, so that extractions can be added, and give them their groups.

        Where a group changes, those who are adding to the sources end first: so the caller sees all
        that must follow. Returns what the groups were and are, of those that had another.
        """
        given = {id_: group for id_, group in groups.items() if group is not None}
        query = select(_TABLE.c.id, _TABLE.c.source_group).order_by(_TABLE.c.id)
        changes = bool(_differing(given, self._groups(given, query)))
        if not changes and self._dialect == "sqlite":
            return {}
        locked = query.with_for_update() if changes else query.with_for_update(read=True, key_share=True)
        regrouped = _differing(given, self._groups(groups, locked))
        self.regroup({id_: now for id_, (_, now) in regrouped.items()})
        return regrouped

    def _groups(self, ids: Ids, query: Select[Any]) -> dict[SourceId, str | None]:
        if not ids:
            return {}
        rows = self._session.execute(query.where(among(_TABLE.c.id, ids, self._dialect))).all()
        return {row.id: row.source_group for row in rows}


def _differing(
    groups: Mapping[SourceId, str], stored: Mapping[SourceId, str | None]
) -> dict[SourceId, tuple[str | None, str | None]]:
    """What the groups were and are, of the sources that had another."""
    return {id_: (was, groups[id_]) for id_, was in stored.items() if id_ in groups and was != groups[id_]}


def _composed(group: str | None) -> str | None:
    return None if group is None else composed(group, "source_group")


def _begins_with(prefix: str) -> ColumnElement[bool]:
    """Not by LIKE, which SQLite compares without regard to case."""
    return func.substr(_TABLE.c.uri, 1, len(prefix)) == prefix


def _no_facts() -> ColumnElement[bool]:
    return ~exists().where(_EXTRACTIONS.c.source_id == _TABLE.c.id)


def _with_counts() -> Select[Any]:
    """The columns of a :class:`SourceRow`."""
    facts = select(func.count()).where(_EXTRACTIONS.c.source_id == _TABLE.c.id).scalar_subquery()
    own = {"group": _TABLE.c.source_group, "extractions": facts}
    return select(*(own[name] if name in own else _TABLE.c[name] for name in SourceRow._fields))
