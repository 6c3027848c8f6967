"""Rows for tests of the repositories."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, delete, event
from sqlalchemy.orm import Session

from app.database import WriteSession
from app.domain.ids import ExtractionId, ProjectId
from app.models import Base, StoreIdentity
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
from app.services.storage.repositories.project import ProjectRepository
from app.services.storage.repositories.source import SourceRepository


@contextmanager
def writing(engine: Engine) -> Iterator[WriteSession]:
    """A session whose transaction is committed at the end."""
    with WriteSession(engine) as session, session.begin():
        yield session


def empty(engine: Engine) -> None:
    """Delete every row except the store's id, so that it stays the same store."""
    tables = [table for table in Base.metadata.sorted_tables if table is not StoreIdentity.__table__]
    with writing(engine) as session:
        for table in reversed(tables):
            session.execute(delete(table))


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Record the statements sent meanwhile, without those that begin or end transactions."""
    sent: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_others: object) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")):
            sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def make_project(session: Session, name: str = "papers") -> ProjectId:
    """Return the id of a project, and create the project if necessary."""
    return ProjectRepository(session).get_or_create(name).id


def new_extraction(session: Session, project: ProjectId, **changes: Any) -> NewExtraction:
    """An extraction with a random id, not stored yet; ``uri`` and ``group`` are its source's."""
    uri, group = changes.pop("uri", "file:a"), changes.pop("group", None)
    source = SourceRepository(session).create_batch(project, [(uri, group)])[0][uri]
    values: dict[str, Any] = {
        "id": ExtractionId(uuid.uuid4()),
        "project_id": project,
        "source_id": source,
        "extraction_type": "fact",
        "data": {"fact_text": "water is wet"},
    }
    return NewExtraction(**(values | changes))


def store_extractions(
    session: Session, count: int, project: str = "papers", **changes: Any
) -> list[ExtractionId]:
    """Store ``count`` extractions of one source; return their ids, sorted."""
    template = new_extraction(session, make_project(session, project), **changes)
    rows = [template._replace(id=ExtractionId(uuid.uuid4())) for _ in range(count)]
    ExtractionRepository(session).create_batch(rows)
    return sorted(row.id for row in rows)


def store_data(session: Session, documents: Sequence[dict[str, Any]]) -> list[ExtractionId]:
    """Store an extraction for each of the documents; return their ids, in order."""
    template = new_extraction(session, make_project(session))
    rows = [template._replace(id=ExtractionId(uuid.uuid4()), data=data) for data in documents]
    ExtractionRepository(session).create_batch(rows)
    return [row.id for row in rows]
