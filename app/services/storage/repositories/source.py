"""Sources: where extractions were taken from."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from app.domain.ids import ProjectId, SourceId, source_id_of
from app.domain.normal_form import composed
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

        A source keeps the group it was first stored with. The id tells sources apart, and no index holds a URI:
        PostgreSQL's take 2,704 bytes.
        """
        ids: dict[str, SourceId] = {}
        groups: dict[SourceId, tuple[str, str | None]] = {}
        for uri, group in sources:
            if uri not in ids:
                ids[uri] = source_id_of(project_id, uri)
                groups.setdefault(ids[uri], (composed(uri, "source_uri"), _composed(group)))
        columns: dict[str, list[Any]] = {
            "id": list(groups),
            "project_id": [project_id] * len(groups),
            "uri": [uri for uri, _ in groups.values()],
            "source_group": [group for _, group in groups.values()],
        }
        insert_new(self._session, Source.__table__, columns)
        return ids


def _composed(group: str | None) -> str | None:
    return None if group is None else composed(group, "source_group")
