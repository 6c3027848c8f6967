"""The instruments: the interface by which the parts of this process report measurements."""

from typing import Protocol

from app.domain.outcomes import Counts


class Instruments(Protocol):
    """Takes measurements; thread-safe, and never raises. Times are in seconds."""

    def job(self, job_type: str, outcome: str, seconds: float) -> None:
        """An attempt at a job ended, as ``completed``, ``failed``, ``retried`` and so on."""

    def qdrant(self, operation: str, seconds: float, *, failed: bool) -> None:
        """A request to Qdrant succeeded or failed; each try counts."""

    def embedding(self, texts: int, seconds: float, *, failed: bool) -> None:
        """Texts were embedded, or the call failed."""

    def cut_texts(self, count: int) -> None:
        """Texts were cut because they are longer than the model takes."""

    def foreign_texts(self, count: int) -> None:
        """Texts of a sample are in a language that the embedder wasn't made for."""

    def facts(self, counts: Counts) -> None:
        """Facts were added, changed and removed."""

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        """An HTTP request was answered; ``route`` is its template, never its path."""


class NullInstruments:
    """Measures nothing."""

    def job(self, job_type: str, outcome: str, seconds: float) -> None:
        """See :class:`Instruments`."""

    def qdrant(self, operation: str, seconds: float, *, failed: bool) -> None:
        """See :class:`Instruments`."""

    def embedding(self, texts: int, seconds: float, *, failed: bool) -> None:
        """See :class:`Instruments`."""

    def cut_texts(self, count: int) -> None:
        """See :class:`Instruments`."""

    def foreign_texts(self, count: int) -> None:
        """See :class:`Instruments`."""

    def facts(self, counts: Counts) -> None:
        """See :class:`Instruments`."""

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        """See :class:`Instruments`."""
