"""Sources: where extractions were taken from."""

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.models import ProjectId, Source, SourceId
from app.services.storage.repositories.bulk_insert import insert_new


def source_id(project_id: ProjectId, uri: str) -> SourceId:
    """The id of a project's source: a UUIDv5, so the same source always gets the same."""
    return SourceId(uuid.uuid5(project_id, uri))


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
        ids = {uri: source_id(project_id, uri) for uri in groups}
        columns: dict[str, list[Any]] = {
            "id": list(ids.values()),
            "project_id": [project_id] * len(ids),
            "uri": list(groups),
            "source_group": list(groups.values()),
        }
        insert_new(self._session, Source.__table__, columns)
        return ids
