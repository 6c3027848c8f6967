"""Store facts together with their words and their keys of data indexes."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.domain.ids import ExtractionId
from app.services.storage.repositories.data_indexes import DataIndexRepository, KeyedFact
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
from app.services.words.indexing import add_words


def create_facts(session: Session, extractions: Sequence[NewExtraction]) -> set[ExtractionId]:
    """Store the extractions that don't exist yet, with their words and keys; return the new ids.

    On SQLite, which has one writer at a time, the caller must have checked that none exists.
    """
    ids = ExtractionRepository(session).create_batch(extractions, held=())
    new = [each for each in extractions if each.id in ids]
    add_words(session, new)
    keyed = (KeyedFact(each.id, each.project_id, each.data, each.metadata) for each in new)
    DataIndexRepository(session).add_batch(keyed)
    return ids
