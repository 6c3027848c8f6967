"""What a service has promised under chaos, and what it kept."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.domain.ids import ExtractionId
from app.domain.rows import ExtractionRow


class Books:
    """The facts that have to be there and those that mustn't, by what was acknowledged."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - drawn alike for one seed, no secret
        self.stored: dict[ExtractionId, None] = {}
        self.gone: set[ExtractionId] = set()
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def note_stored(self, ids: Iterable[ExtractionId]) -> None:
        """These were acknowledged as stored."""
        for id_ in ids:
            self.stored[id_] = None
            self.gone.discard(id_)

    def note_gone(self, ids: Iterable[ExtractionId]) -> None:
        """These were acknowledged as deleted, or replaced by others."""
        for id_ in ids:
            self.stored.pop(id_, None)
            self.gone.add(id_)

    def take_some(self, most: int) -> list[ExtractionId]:
        """Some that are stored and of which nothing is promised until it is noted."""
        known = list(self.stored)
        some = self.random.sample(known, min(most, len(known)))
        for id_ in some:
            del self.stored[id_]
        return some


@dataclass(slots=True)
class Report:
    """How it ended.

    ``lost`` were acknowledged and aren't there; ``doubled`` are there twice; ``returned`` were
    deleted and are there. ``differing`` is what ``verify`` found once all jobs had run, ``left``
    what one repair has left of it.
    """

    seconds: float
    seed: int
    counts: dict[str, int]
    refusals: dict[str, int]
    faults: dict[str, int]
    not_tried: dict[str, str]
    lost: int = 0
    doubled: int = 0
    returned: int = 0
    failed_jobs: int = 0
    differing: int = 0
    left: int = 0
    first_lost: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether what was promised is true."""
        return not (self.lost or self.doubled or self.returned or self.failed_jobs or self.left)

    def compare(self, books: Books, rows: Sequence[ExtractionRow]) -> None:
        """Note what the store holds otherwise than was promised."""
        there = {row.id for row in rows}
        lost = [id_ for id_ in books.stored if id_ not in there]
        self.lost = len(lost)
        self.first_lost = [str(id_) for id_ in lost[:10]]
        self.returned = len(books.gone & there)
        said = Counter((row.source_uri, row.data.get("text")) for row in rows)
        self.doubled = sum(times - 1 for times in said.values())

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"held": self.held, **asdict(self)}
