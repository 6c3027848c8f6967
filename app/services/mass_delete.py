"""Refuse to remove most facts of a source or a project by mistake."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.database import WriteSession
from app.domain.filters import Filters
from app.domain.ids import ProjectId
from app.domain.outcomes import Replaced
from app.domain.sources import SourceFacts
from app.errors import MassDeleteRefused
from app.services.storage.repositories.extraction import ExtractionRepository

FEW = 20
"""Up to this many facts may be removed without a check."""


@dataclass(slots=True)
class MassDeleteGuard:
    """Refuses to remove most facts of a source or project by mistake; counts a whole replace."""

    project: str
    project_id: ProjectId
    allowed: bool
    _removed: int = 0
    _net: int = 0
    _before: int | None = None

    def check_source(self, uri: str, removed: int, of: int) -> None:
        """Refuse to remove too many facts of one source.

        Raises:
            MassDeleteRefused: more than half would be removed, and that isn't allowed.
        """
        if not self.allowed and removed > FEW and removed * 2 > of:
            raise MassDeleteRefused(f"source {uri[:200]!r}", removed, of)

    def check_project(self, session: WriteSession, removed: int) -> None:
        """Refuse to remove too many facts of the project. Call it before removing them.

        Raises:
            MassDeleteRefused: with those removed before, more than half would be removed, and that
                isn't allowed.
        """
        together = self._removed + removed
        if self.allowed or together <= FEW:
            return
        if self._before is None:
            now = ExtractionRepository(session).count(Filters(project_id=self.project_id))
            self._before = now - self._net
        if together * 2 > self._before:
            raise MassDeleteRefused(f"project {self.project!r}", together, self._before, at_least=True)

    def note(self, sources: Sequence[SourceFacts], replaced: Replaced) -> None:
        """Count the removed facts, except those of sources that were declared gone."""
        # Not strict: `replaced` may go on with sources that were emptied at the end.
        for facts, source in zip(sources, replaced.sources, strict=False):
            self._removed += 0 if facts.gone else source.counts.removed
            self._net += source.counts.added - source.counts.removed

    def note_rollback(self) -> None:
        """Forget the changes of a dry run: SQL doesn't show them."""
        self._net = 0
