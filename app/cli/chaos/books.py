"""Records what a service acknowledged under chaos, and compares it with what is stored."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from app.domain.ids import ExtractionId
from app.domain.rows import ExtractionRow


class Books:
    """The facts that must exist, and those that mustn't, according to the acknowledgements."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - reproducible by seed, no secret
        self.stored: dict[ExtractionId, None] = {}
        self.gone: set[ExtractionId] = set()
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()

    def note_stored(self, ids: Iterable[ExtractionId]) -> None:
        """Record that these were acknowledged as stored."""
        for id_ in ids:
            self.stored[id_] = None
            self.gone.discard(id_)

    def note_gone(self, ids: Iterable[ExtractionId]) -> None:
        """Record that these were acknowledged as deleted or replaced."""
        for id_ in ids:
            self.stored.pop(id_, None)
            self.gone.add(id_)

    def take_some(self, most: int) -> list[ExtractionId]:
        """Take out up to ``most`` stored facts; nothing is expected of them until noted again."""
        known = list(self.stored)
        some = self.random.sample(known, min(most, len(known)))
        for id_ in some:
            del self.stored[id_]
        return some


@dataclass(slots=True)
class Report:
    """The outcome of a chaos run.

    ``lost`` facts were acknowledged but don't exist, ``doubled`` ones exist twice, and ``returned``
    ones were deleted but exist. ``differing`` counts the differences that ``verify`` found after
    all jobs had run, ``left`` those that remain after one repair.
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
        """Whether all promises held."""
        return not (self.lost or self.doubled or self.returned or self.failed_jobs or self.left)

    def compare(self, books: Books, rows: Sequence[ExtractionRow]) -> None:
        """Record how the store's content differs from what was acknowledged."""
        there = {row.id for row in rows}
        lost = [id_ for id_ in books.stored if id_ not in there]
        self.lost = len(lost)
        self.first_lost = [str(id_) for id_ in lost[:10]]
        self.returned = len(books.gone & there)
        said = Counter((row.source_uri, row.data.get("text")) for row in rows)
        self.doubled = sum(times - 1 for times in said.values())

    def as_dict(self) -> dict[str, Any]:
        """The report as ``--json`` prints it."""
        return {"held": self.held, **asdict(self)}
