"""Write the words of extractions when they are stored, and rewrite missing or stale ones."""

import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.database import Database, ReadSession, WriteSession
from app.domain.filters import Filters
from app.domain.ids import ExtractionId
from app.domain.rows import ExtractionRow
from app.services.jobs.running import Done, RunningJob
from app.services.jobs.unit_of_work import UnitOfWork
from app.services.storage.repositories.extraction import ExtractionRepository, NewExtraction
from app.services.storage.repositories.facts import FactRepository
from app.services.storage.repositories.page_sizes import PAGE_BYTES
from app.services.storage.repositories.words import WordsRepository, WordsRow
from app.services.words.encoding import MAX_TERMS, TokenEncoder
from app.words.languages import stemmed_as
from app.words.texts import text_to_index
from app.words.tokens import TOKENIZER_VERSION, terms_and_length

_TEXT_VERSION = 1
"""The version of :mod:`app.words.texts`, which selects the texts in the data."""

WORDS_VERSION = TOKENIZER_VERSION * 100 + _TEXT_VERSION
"""Words of another version are stale.

A release that raises it must have a migration that queues the job ``index_words``.
"""

ENCODER = TokenEncoder()

_logger = logging.getLogger(__name__)

_PAGE = 1_000


def add_words(session: Session, extractions: Iterable[NewExtraction]) -> None:
    """Store the words of newly stored extractions."""
    WordsRepository(session).add_batch([_words_of(each) for each in extractions])


@dataclass(frozen=True, slots=True)
class WordDifferences:
    """The extractions without words, and those with words of another version."""

    missing: Sequence[ExtractionId]
    stale: Sequence[ExtractionId]


def word_differences(session: Session, ids: Sequence[ExtractionId]) -> WordDifferences:
    """Find which of these extractions have missing or stale words."""
    made_by = WordsRepository(session).made_by(ids)
    return words_that_differ({str(id_): made_by.get(str(id_)) for id_ in ids})


def words_that_differ(made_by: Mapping[str, int | None]) -> WordDifferences:
    """The differences, from the version of each extraction's words; None: it has none."""
    different = {id_: version for id_, version in made_by.items() if version != WORDS_VERSION}
    return WordDifferences(
        [ExtractionId(UUID(id_)) for id_, version in different.items() if version is None],
        [ExtractionId(UUID(id_)) for id_, version in different.items() if version is not None],
    )


def rewrite_words(session: WriteSession, ids: Sequence[ExtractionId]) -> None:
    """Rewrite the words of these extractions; deleted extractions get none."""
    FactRepository(session).lock(ids)
    words = WordsRepository(session)
    words.delete_batch(ids)
    for rows in ExtractionRepository(session).iter_pages(ids, PAGE_BYTES):
        words.add_batch([_words_of(row) for row in rows])


class WordIndexing:
    """Makes the words of extractions that were stored without them, or under other rules."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def index_words(self, job: RunningJob) -> Done:
        """The handler of ``index_words``. An attempt skips what an interrupted one has done."""
        total = await self._database.read(lambda session: ExtractionRepository(session).count())
        done = made = 0
        async for page in self._pages_of_ids():
            made += await self._rewrite(page, job)
            done += len(page)
            await job.report(done=done, total=total)
        return Done({"made": made})

    async def _rewrite(self, ids: Sequence[ExtractionId], unit: UnitOfWork) -> int:
        found = await self._database.read(lambda session: word_differences(session, ids))
        different = [*found.missing, *found.stale]
        if different:
            await unit.save(lambda session: rewrite_words(session, different))
        return len(different)

    async def _pages_of_ids(self) -> AsyncIterator[list[ExtractionId]]:
        after: ExtractionId | None = None

        def read(session: ReadSession) -> list[ExtractionId]:
            return ExtractionRepository(session).list_ids(Filters(), after=after, limit=_PAGE)

        while page := await self._database.read(read):
            yield page
            after = page[-1]


def _words_of(extraction: NewExtraction | ExtractionRow) -> WordsRow:
    text = text_to_index(extraction.extraction_type, extraction.data)
    language = stemmed_as(text)
    words = ENCODER.encode(extraction.project_id, *terms_and_length(text, language))
    if words.left_out:
        _logger.warning(
            "extraction %s: its %d last distinct words can't be searched for, beyond the first %d",
            extraction.id,
            words.left_out,
            MAX_TERMS,
        )
    return WordsRow(extraction.id, WORDS_VERSION, language, words.length, words.counts, words.tokens)
