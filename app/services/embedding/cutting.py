"""Cut a text that is longer than a model takes, without asking what its tokens are."""

from dataclasses import dataclass, replace
from typing import Self

_CUTS = 8
"""How often a text is cut when the endpoint says it is too long. Eight halvings leave 1/256."""


@dataclass(frozen=True, slots=True)
class CuttableText:
    """A text to embed, or the beginning of one that was too long."""

    text: str
    is_cut: bool = False
    cuts: int = 0

    @property
    def may_be_cut(self) -> bool:
        """Whether a shorter text may be tried."""
        return self.cuts < _CUTS and len(self.text) > 1

    def shortened(self, max_chars: int | None) -> Self:
        """Cut the text to ``max_chars``. If only blanks would be left, it stays whole."""
        beginning = self.text[:max_chars].rstrip()
        if max_chars is None or len(self.text) <= max_chars or not beginning:
            return self
        return replace(self, text=beginning, is_cut=True)

    def cut(self, share: float) -> Self:
        """Cut the text to the share that the endpoint says it takes."""
        return replace(self.shortened(max(1, int(len(self.text) * share))), cuts=self.cuts + 1)
