"""PostgreSQL's time limits cancel all statements except those that change unlimited rows."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.rows import make_project, store_extractions, writing

from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.project import ProjectRepository


@pytest.mark.parametrize(
    "work",
    [
        lambda session: ExtractionRepository(session).clear_all_embedding_ids(),
        lambda session: ProjectRepository(session).delete("papers"),
    ],
)
def test_a_change_of_rows_without_number_has_no_time_limit(
    postgres_engine: Engine, work: Callable[[Session], Any]
) -> None:
    with writing(postgres_engine) as session:
        store_extractions(session, 1)
        work(session)
        assert session.scalar(text("SHOW statement_timeout")) == "0"
    with writing(postgres_engine) as session:
        make_project(session, "others")
        assert session.scalar(text("SHOW statement_timeout")) != "0"
