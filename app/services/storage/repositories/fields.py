"""Which fields the extractions of a project have, by some of them."""

from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import Session

from app.domain.conditions import Exists, InData, InMetadata
from app.models import Extraction
from app.services.storage.conditions.compiling import holds

_TABLE = Extraction.__table__
_STREAMED = {"stream_results": True, "max_row_buffer": 16}


class SampledFact(NamedTuple):
    """What an extraction says, and what it is."""

    type: str
    data: dict[str, Any]
    metadata: dict[str, Any] | None


class FieldRepository:
    """Over a session, in its transaction; of a project, or of all if it is None.

    Ids are hashes, so the first extractions by id are as good as drawn at random.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._dialect = session.get_bind().dialect.name

    def sample(self, project_id: UUID | str | None, *, most: int, most_bytes: int) -> Sequence[SampledFact]:
        """The first extractions by id, at most so many, and no more data than about so much JSON."""
        query = self._first(project_id, most, _TABLE.c.extraction_type, _TABLE.c.data, _TABLE.c.metadata)
        sampled, taken = list[SampledFact](), 0
        with self._session.execute(query.execution_options(**_STREAMED)) as found:
            for row in found:
                sampled.append(SampledFact(*row))
                taken += len(orjson.dumps(row[1]))
                if taken > most_bytes:
                    break
        return sampled

    def first_has(self, project_id: UUID | str | None, path: InData | InMetadata, *, most: int) -> bool:
        """Whether one of the first extractions has something at the path."""
        looked_at = self._first(project_id, most, _TABLE.c.data, _TABLE.c.metadata).subquery("extractions")
        found = select(looked_at.c.data).where(holds(Exists(path), self._dialect)).limit(1)
        return self._session.execute(found).first() is not None

    def are_more_than(self, project_id: UUID | str | None, most: int) -> bool:
        """Whether there are more extractions than that."""
        counted = self._first(project_id, most + 1, _TABLE.c.id).subquery()
        return (self._session.scalar(select(func.count()).select_from(counted)) or 0) > most

    @staticmethod
    def _first(project_id: UUID | str | None, most: int, *columns: ColumnElement[Any]) -> Select[Any]:
        query = select(*columns).order_by(_TABLE.c.id).limit(most)
        return query if project_id is None else query.where(_TABLE.c.project_id == project_id)
