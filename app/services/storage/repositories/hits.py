"""What a search needs of SQL to trust its points: which still have a row, and the index as it stands, in one statement."""

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
    """The index as it stood when the rows were read."""

    embedder_name: str
    embedder_version: str
    dimension: int
    rebuilding: bool
    generation: int
    texts: str


class RowSeen(NamedTuple):
    """What there is behind a point: whose it is, and whether it is marked as indexed."""

    project_id: ProjectId
    marked: bool


def seen_of(session: Session, ids: Ids) -> tuple[IndexSeen | None, Mapping[str, RowSeen]]:
    """The index as it stands, and what there is of these ids, by id as text; without a state of the index, nothing."""
    dialect = session.get_bind().dialect.name
    found = session.connection().execute(_seen(dialect), {"ids": bound(ids, dialect)}).one_or_none()
    if found is None:
        return None, {}
    *state, rows = found
    listed = orjson.loads(rows) if isinstance(rows, str) else rows
    # Parsing is remembered, since hits share their projects.
    return IndexSeen(*state), {
        id_: RowSeen(ProjectId(parse_uuid(project)), bool(marked)) for id_, project, marked in listed or ()
    }


@cache
def _seen(dialect: str) -> Select[Any]:
    """Built once: building it takes as long as running it.

    One row with a JSON document: row by row, SQLite's driver would give up Python's lock at each
    one.
    """
    values = (cast(_TABLE.c.id, Text), cast(_TABLE.c.project_id, Text), _TABLE.c.embedding_id.is_not(None))
    if dialect == "postgresql":
        listed = func.json_agg(func.json_build_array(*values))
    else:
        listed = func.json_group_array(func.json_array(*values))
    wanted = among_bound(_TABLE.c.id, bindparam("ids", type_=NullType()), dialect)
    rows = select(listed).select_from(_TABLE).where(wanted).scalar_subquery()
    return select(*(_STATE.c[name] for name in IndexSeen._fields), rows).where(_STATE.c.id == 1)
