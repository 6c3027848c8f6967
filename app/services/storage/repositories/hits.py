"""What a search needs of SQL: the rows of its hits, and the state of the index that found them, in one statement."""

from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from app.domain.rows import ExtractionRow, ExtractionRows
from app.models import Extraction, IndexState
from app.services.storage.repositories.extraction import joined_rows
from app.services.storage.repositories.id_lists import Ids, among_bound, bound

_STATE = IndexState.__table__


class IndexSeen(NamedTuple):
    """The index as it stood when the rows were read."""

    embedder_name: str
    embedder_version: str
    dimension: int
    rebuilding: bool
    generation: int
    texts: str


def rows_of_hits(session: Session, ids: Ids) -> tuple[IndexSeen | None, ExtractionRows]:
    """The rows of these ids, in any order, and the index as it stands.

    The latter is None where none of the ids has a row, or the index has no state.
    """
    dialect = session.get_bind().dialect.name
    found = session.execute(_hits(dialect), {"ids": bound(ids, dialect)}).all()
    width = len(ExtractionRow._fields)
    seen = IndexSeen(*found[0][width:]) if found else None
    return seen, [ExtractionRow(*row[:width]) for row in found]


@cache
def _hits(dialect: str) -> Select[Any]:
    """Built once: building it takes as long as running it for the ten results of a search."""
    state = [_STATE.c[name] for name in IndexSeen._fields]
    wanted = among_bound(Extraction.__table__.c.id, bindparam("ids", type_=NullType()), dialect)
    return joined_rows().add_columns(*state).join(_STATE, _STATE.c.id == 1).where(wanted)
