"""Sources: where extractions were taken from."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain.ids import ProjectId, SourceId, source_id_of
from app.models import Source
from app.services.storage.repositories.bulk_insert import insert_new


class SourceRepository:
    """Over a session, in its transaction; never commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_batch(
        self, project_id: ProjectId, sources: Iterable[tuple[str, str | None]]
    ) -> Mapping[str, SourceId]:
        """Store the sources, given as (URI, group), that aren't there yet; return every URI's id.

        A source keeps the group it was first stored with.
        """
        groups: dict[str, str | None] = {}
        for uri, group in sources:
            groups.setdefault(uri, group)
        ids = {uri: source_id_of(project_id, uri) for uri in groups}
        columns: dict[str, list[Any]] = {
            "id": list(ids.values()),
            "project_id": [project_id] * len(ids),
            "uri": list(groups),
            "source_group": list(groups.values()),
        }
        insert_new(self._session, Source.__table__, columns)
        return ids
