"""Warn when a project's text isn't in the languages that the embedder was made for."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.ids import ProjectId
from app.domain.items import Item
from app.domain.text import TextRules, text_of
from app.errors import DeadlineExceeded, InvalidInput, Saturated, ShuttingDown
from app.executor import Lane
from app.services.embedding.embedder import Embedder
from app.services.metrics.instruments import Instruments, NullInstruments
from app.words.languages import UNKNOWN, guess

_SHARE = 0.2
_FEWEST_CHARACTERS = 300
"""Characters in known languages needed for a warning: the guess for a few words is often wrong."""
_LOOKED_AT = 8
"""Items sampled evenly from a batch: a guess takes up to 1 ms, so a batch would take a second."""
_GUESSED_FROM = 200
"""Characters of a text used for the guess: two sentences are enough."""
_PROJECTS = 1_000
_NAMED = 5


@dataclass(slots=True)
class _Tally:
    """The characters of a project's text, by guessed language."""

    characters: Counter[str] = field(default_factory=Counter)


class LanguageWatch:
    """Counts, by project and language, the text that this process accepts, new or already stored.

    It begins empty when the process starts, samples each batch, and drops the least recently used
    project when it has more than a thousand. Text whose language can't be guessed isn't counted.
    """

    def __init__(
        self,
        embedder: Embedder,
        lane: Lane,
        text_rules: TextRules,
        instruments: Instruments | None = None,
    ) -> None:
        self._lane = lane
        self._embedder = embedder
        self._text_rules = text_rules
        self._instruments = instruments or NullInstruments()
        self._counting = threading.Lock()
        self._tallies: OrderedDict[ProjectId, _Tally] = OrderedDict()

    async def look(self, project: str, project_id: ProjectId, items: Sequence[Item]) -> tuple[str, ...]:
        """Count these items, and return one warning or none.

        The items are already stored, so if no thread is free, they go uncounted without an error.
        """
        languages = self._embedder.languages
        if languages is None or not items:
            return ()
        try:
            return await self._lane.run(self._look, project, project_id, items, languages)
        except (DeadlineExceeded, Saturated, ShuttingDown):
            return ()

    def _look(
        self, project: str, project_id: ProjectId, items: Sequence[Item], languages: frozenset[str]
    ) -> tuple[str, ...]:
        step = -(-len(items) // _LOOKED_AT)
        seen = Counter[str]()
        foreign = 0
        for item in items[::step]:
            text = self._text(item)
            language = guess(text[:_GUESSED_FROM])
            if language != UNKNOWN:
                seen[language] += len(text)
                foreign += language not in languages
        self._instruments.foreign_texts(foreign)
        with self._counting:
            tally = self._tallies.pop(project_id, None) or _Tally()
            self._tallies[project_id] = tally
            tally.characters += seen
            if len(self._tallies) > _PROJECTS:
                self._tallies.popitem(last=False)
            return self._warning(project, tally.characters, languages)

    def _text(self, item: Item) -> str:
        try:
            return text_of(item.extraction_type, item.data, self._text_rules)
        except InvalidInput:  # accepting the item reports it
            return ""

    def _warning(self, project: str, characters: Counter[str], languages: frozenset[str]) -> tuple[str, ...]:
        total = characters.total()
        others = Counter({code: count for code, count in characters.items() if code not in languages})
        if total < _FEWEST_CHARACTERS or others.total() < _SHARE * total:
            return ()
        named = ", ".join(code for code, _ in others.most_common(_NAMED))
        return (self._warning_text(project, others.total() / total, named),)

    def _warning_text(self, project: str, share: float, named: str) -> str:
        return (
            f"{share:.0%} of the text of project {project!r} is in languages ({named}) that the embedder "
            f"{self._embedder.identity.name} wasn't made for: a search by meaning finds little of it. "
            "`agent-storage embedders list` names others, such as multilingual"
        )
