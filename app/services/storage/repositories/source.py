"""The repository of sources."""

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
    """Stored sources: ids by URI, those that are new, and (old, new) groups of those regrouped."""

    ids: SourceIds
    new: set[SourceId]
    regrouped: dict[SourceId, tuple[str | None, str | None]]


class HeldSource(NamedTuple):
    """A locked source: no other transaction changes or adds to it until this one ends."""

    id: SourceId
    is_new: bool
    group: str | None
    observed_at: datetime | None


class SourceRepository:
    """Works on a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def create_batch(self, project_id: ProjectId, sources: Iterable[tuple[str, str | None]]) -> StoredSources:
        """Store the sources, given as (URI, group).

        A source gets the last group given for it; without one, it keeps its group. Sources are
        identified by id, and no index holds a URI: PostgreSQL's indexes take up to 2,704 bytes.
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
        """Store the sources that don't exist, and lock all and the ``others`` in order of id."""
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
        """Store when the current facts of these sources were observed; one statement."""
        if ids:
            chosen = among(_TABLE.c.id, ids, self._dialect)
            self._session.execute(update(_TABLE).where(chosen).values(observed_at=moment))

    def get(self, project_id: ProjectId, source_id: SourceId) -> SourceRow:
        """One of a project's sources.

        Raises:
            NotFound: the project has no source with that id.
        """
        chosen = (_TABLE.c.id == source_id, _TABLE.c.project_id == project_id)
        row = self._session.execute(_with_counts().where(*chosen)).one_or_none()
        if row is None:
            raise NotFound("source", source_id)
        return SourceRow(*row)

    def list(
        self, project_id: ProjectId, filters: SourceFilters, *, after: SourceId | None = None, limit: int
    ) -> SourceRows:
        """A project's sources that pass the filters, by id: the next ``limit`` after ``after``."""
        query = _with_counts().where(
            _TABLE.c.project_id == project_id,
            _TABLE.c.source_group.in_(filters.source_groups) if filters.source_groups else true(),
            true() if filters.uri_prefix is None else _begins_with(filters.uri_prefix),
            true() if filters.gone is None else (_no_facts() if filters.gone else ~_no_facts()),
            true() if after is None else _TABLE.c.id > after,
        )
        return [SourceRow(*row) for row in self._session.execute(query.order_by(_TABLE.c.id).limit(limit))]

    def with_facts(self, project_id: ProjectId, *, after: SourceId | None = None, limit: int) -> SourceUris:
        """(id, URI) of a project's sources with extractions: the next ``limit`` after ``after``."""
        query = select(_TABLE.c.id, _TABLE.c.uri).where(
            _TABLE.c.project_id == project_id, ~_no_facts(), true() if after is None else _TABLE.c.id > after
        )
        return [(row.id, row.uri) for row in self._session.execute(query.order_by(_TABLE.c.id).limit(limit))]

    def lock(self, ids: Ids) -> None:
        """Lock these sources, in order of id, against changes and additions until the end."""
        chosen = among(_TABLE.c.id, ids, self._dialect)
        self._session.execute(select(_TABLE.c.id).where(chosen).order_by(_TABLE.c.id).with_for_update()).all()

    def find(self, source_id: SourceId) -> SourceRow | None:
        """The source with that id, or None."""
        row = self._session.execute(_with_counts().where(_TABLE.c.id == source_id)).one_or_none()
        return None if row is None else SourceRow(*row)

    def missing(self, ids: Collection[SourceId]) -> set[SourceId]:
        """The ids without a source."""
        chosen = among(_TABLE.c.id, ids, self._dialect)
        return set(ids) - set(self._session.scalars(select(_TABLE.c.id).where(chosen)))

    def restore(self, rows: Sequence[SourceRow]) -> set[SourceId]:
        """Store deleted sources again as they were; return the ids of those that didn't exist."""
        values = [{**row._asdict(), "source_group": row.group} for row in rows]
        columns = {column.name: [each[column.name] for each in values] for column in _TABLE.c}
        return {SourceId(id_) for id_ in insert_new(self._session, _TABLE, columns)} if rows else set()

    def delete_empty(self, ids: Ids) -> set[SourceId]:
        """Delete these sources if they have no extractions; return the ids of those deleted."""
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
        """Store the sources that don't exist, without a group; return their ids."""
        given = {id_: (composed(uri, "source_uri"), None) for id_, uri in uris.items()}
        return self._insert(project_id, given) if given else set()

    def _held_on_sqlite(self, ids: Sequence[SourceId]) -> dict[SourceId, HeldSource]:
        """The existing sources, held by the write lock; one JSON document, as in :mod:`.facts`."""
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
        """Lock stored sources in order of id, to add extractions, and update their groups.

        If a group changes, transactions that add to the sources end first, so the caller sees all
        extractions to regroup. Returns the old and new groups of regrouped sources.
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
    """The old and new groups of the sources whose group differs."""
    return {id_: (was, groups[id_]) for id_, was in stored.items() if id_ in groups and was != groups[id_]}


def _composed(group: str | None) -> str | None:
    return None if group is None else composed(group, "source_group")


def _begins_with(prefix: str) -> ColumnElement[bool]:
    """The URI begins with ``prefix``. LIKE won't do: SQLite's ignores case."""
    return func.substr(_TABLE.c.uri, 1, len(prefix)) == prefix


def _no_facts() -> ColumnElement[bool]:
    return ~exists().where(_EXTRACTIONS.c.source_id == _TABLE.c.id)


def _with_counts() -> Select[Any]:
    """The columns of a :class:`SourceRow`."""
    facts = select(func.count()).where(_EXTRACTIONS.c.source_id == _TABLE.c.id).scalar_subquery()
    own = {"group": _TABLE.c.source_group, "extractions": facts}
    return select(*(own[name] if name in own else _TABLE.c[name] for name in SourceRow._fields))
