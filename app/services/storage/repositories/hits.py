"""Read in one statement which points still have a row, and the state of the index."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Select, Text, bindparam, cast, func, select
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from app.domain.ids import ProjectId, parse_uuid
from app.models import Extraction, IndexState
from app.services.storage.repositories.id_lists import Ids, among_bound, bound

_STATE = IndexState.__table__
_TABLE = Extraction.__table__


class IndexSeen(NamedTuple):
    """The state of the index when the rows were read."""

    embedder_name: str
    embedder_version: str
    dimension: int
    rebuilding: bool
    generation: int
    texts: str


class RowSeen(NamedTuple):
    """A point's row: its project, and whether it is marked as indexed."""

    project_id: ProjectId
    marked: bool


def seen_of(session: Session, ids: Ids) -> tuple[IndexSeen | None, Mapping[str, RowSeen]]:
    """The index's state and the rows with these ids, by id as text; both empty without a state."""
    dialect = session.get_bind().dialect.name
    found = session.connection().execute(_seen(dialect), {"ids": bound(ids, dialect)}).one_or_none()
    if found is None:
        return None, {}
    *state, rows = found
    listed = orjson.loads(rows) if isinstance(rows, str) else rows
    # parse_uuid caches its results, which pays because hits share projects.
    return IndexSeen(*state), {
        id_: RowSeen(ProjectId(parse_uuid(project)), bool(marked)) for id_, project, marked in listed or ()
    }


@cache
def _seen(dialect: str) -> Select[Any]:
    """The statement. Cached: building it takes as long as running it.

    It returns one JSON document, because SQLite's driver releases the GIL at each row.
    """
    values = (cast(_TABLE.c.id, Text), cast(_TABLE.c.project_id, Text), _TABLE.c.embedding_id.is_not(None))
    if dialect == "postgresql":
        listed = func.json_agg(func.json_build_array(*values))
    else:
        listed = func.json_group_array(func.json_array(*values))
    wanted = among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), dialect)
    rows = select(listed).select_from(_TABLE).where(wanted).scalar_subquery()
    return select(*(_STATE.c[name] for name in IndexSeen._fields), rows).where(_STATE.c.id == 1)
