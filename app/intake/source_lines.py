"""Groups the lines of a replace by source.

A source is complete when another begins, or at the end.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from app.domain.items import Item, ItemLimits
from app.domain.sources import SourceFacts, SourceLine, parse_source_line
from app.errors import InvalidField, InvalidInput, InvalidLine, SourceRepeated
from app.intake.json_lines import decoded_line
from app.intake.rows import MAX_BATCH_BYTES, MAX_LINE_BYTES

MAX_FACTS = 100_000
"""How many facts one source may have in a replace, which collects them in memory."""

MAX_BYTES = 64 * 2**20
"""How much data the facts of one source may have together."""

_LIMITS = ItemLimits()


@dataclass(slots=True)
class _Open:
    """A source that isn't complete yet."""

    uri: str
    line: int
    observed_at: datetime | None
    items: list[Item] = field(default_factory=list)
    gone: bool = False
    size: int = 0

    def whole(self) -> SourceFacts:
        return SourceFacts(self.uri, tuple(self.items), self.gone, self.observed_at, self.line)


class SourceLines:
    """Takes lines, and returns complete sources in batches of about ``batch_size`` facts or 16 MB.

    ``unit`` is the name of a line in errors.
    """

    def __init__(
        self,
        batch_size: int,
        text_fields: Sequence[str],
        limits: ItemLimits = _LIMITS,
        *,
        unit: str = "line",
    ) -> None:
        self._unit = unit
        self._batch_size = batch_size
        self._text_fields = text_fields
        self._limits = limits
        self._open: _Open | None = None
        self._begun: dict[str, int] = {}
        self._whole: list[SourceFacts] = []
        self._facts = 0
        self._bytes = 0

    @property
    def any(self) -> bool:
        """Whether there was any source."""
        return bool(self._begun)

    def take(self, number: int, raw: object) -> None:
        """Take the next decoded line; lines are counted from 1.

        Raises:
            SourceRepeated: the source occurred before, with others in between.
            InvalidLine: it isn't a line of a replace, or contradicts an earlier line.
        """
        try:
            self._add(number, parse_source_line(raw, self._text_fields, self._limits))
        except SourceRepeated:
            raise
        except InvalidInput as error:
            raise InvalidLine.of(number, error, self._unit) from None

    def take_lines(self, lines: Iterable[tuple[int, bytes]]) -> list[list[SourceFacts]]:
        """Take lines as they were read, with their numbers; return the batches that are complete.

        Blank lines are skipped.

        Raises:
            InvalidInput: a line isn't JSON, or :meth:`take` raises it.
        """
        for number, line in lines:
            if line.isspace() and len(line) <= MAX_LINE_BYTES:
                continue
            try:
                raw = decoded_line(line)
            except InvalidInput as error:
                raise InvalidLine.of(number, error, self._unit) from None
            self.take(number, raw)
        return list(self.batches())

    def _add(self, number: int, line: SourceLine) -> None:
        if self._open is None or self._open.uri != line.source_uri:
            self._close()
            if (first := self._begun.setdefault(line.source_uri, number)) != number:
                raise SourceRepeated(line.source_uri, first, number, self._unit)
            self._open = _Open(line.source_uri, number, line.observed_at, gone=line.item is None)
        elif self._open.gone or line.item is None:
            raise InvalidField(
                "gone",
                f"must be the only {self._unit} of its source, but {self._unit} {self._open.line:,} has it too",
            )
        elif line.observed_at != self._open.observed_at:
            raise InvalidField(
                "observed_at",
                f"differs from that of {self._unit} {self._open.line:,}, which has the same source",
            )
        if line.item is not None:
            self._add_item(self._open, line.item)

    def end(self) -> list[SourceFacts]:
        """Complete the last source, and return the remaining ones."""
        self._close()
        return next(self.batches(ended=True), [])

    def batches(self, *, ended: bool = False) -> Iterator[list[SourceFacts]]:
        """Yield the complete sources if they are enough for a batch, or all if ``ended``."""
        enough = self._facts >= self._batch_size or self._bytes >= MAX_BATCH_BYTES
        if self._whole and (ended or enough):
            yield self._whole
            self._whole, self._facts, self._bytes = [], 0, 0

    def _add_item(self, source: _Open, item: Item) -> None:
        source.items.append(item)
        source.size += len(item.canonical_data)
        if len(source.items) > MAX_FACTS or source.size > MAX_BYTES:
            raise InvalidInput(
                f"source {source.uri[:200]!r} has more than {MAX_FACTS:,} facts or {MAX_BYTES // 2**20} MiB of data, the "
                "most for a source in a replace. Split it into several sources"
            )

    def _close(self) -> None:
        if self._open is None:
            return
        self._whole.append(self._open.whole())
        # A source that is gone also takes time in the transaction, so it counts as one fact.
        self._facts += max(1, len(self._open.items))
        self._bytes += self._open.size
        self._open = None
