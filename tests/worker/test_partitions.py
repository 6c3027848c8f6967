"""docs/scaling.md on PostgreSQL: `extractions` can be partitioned by hash of the id."""

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session
from support.rows import store_extractions, writing

from app.services.storage.repositories.comparable import comparable_rows
from app.services.storage.repositories.extraction import ExtractionRepository
from app.services.storage.repositories.facts import FactRepository
from app.services.storage.repositories.project import ProjectRepository

PARTITIONS = 4
INDEXES = """
    SELECT replace(indexdef, 'public.extractions ', 'public.partitioned ') FROM pg_indexes
    WHERE tablename = 'extractions' AND indexname NOT LIKE 'pk_%'
"""
FOREIGN_KEYS = """
    SELECT 'ALTER TABLE partitioned ADD ' || pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid = 'extractions'::regclass AND contype = 'f'
"""

REFERRING = ("extraction_words", "data_keys")


def partition(session: Session) -> None:
    made_after = [*session.scalars(text(FOREIGN_KEYS)), *session.scalars(text(INDEXES))]
    likeness = "LIKE extractions INCLUDING DEFAULTS INCLUDING CONSTRAINTS"
    statements = [
        f"CREATE TABLE partitioned ({likeness}, PRIMARY KEY (id)) PARTITION BY HASH (id)",
        *(
            f"CREATE TABLE extractions_{place} PARTITION OF partitioned "
            f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {place})"
            for place in range(PARTITIONS)
        ),
        *(f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_extraction_id_extractions" for table in REFERRING),
        "DROP TABLE extractions",
        *made_after,
        "ALTER TABLE partitioned RENAME TO extractions",
        *(
            f"ALTER TABLE {table} ADD CONSTRAINT fk_{table}_extraction_id_extractions "
            "FOREIGN KEY (extraction_id) REFERENCES extractions (id) ON DELETE CASCADE"
            for table in REFERRING
        ),
    ]
    for statement in statements:
        session.execute(text(statement))


def test_extractions_by_hash_of_their_id(postgres_engine: Engine) -> None:
    with writing(postgres_engine) as session:
        partition(session)
    with writing(postgres_engine) as session:
        ids = store_extractions(session, 40)
        extractions = ExtractionRepository(session)
        assert extractions.find_orphaned(limit=50) == sorted(ids)
        assert extractions.update_embedding_ids_batch(ids[:30]) == 30
        first = comparable_rows(session, None, 20, None)
        rest = comparable_rows(session, first[-1].id, 50, None)
        assert [row.id for row in (*first, *rest)] == [str(id_) for id_ in sorted(ids)]
        removed = FactRepository(session).iter_removed(ids[:5])
        assert {fact.id for page in removed for fact in page} == set(ids[:5])
        assert session.scalar(text("SELECT count(DISTINCT tableoid) FROM extractions")) == PARTITIONS
        assert ProjectRepository(session).delete("papers")
        assert extractions.count() == 0
