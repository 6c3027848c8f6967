"""The report of ``agent-storage ingest``: what it counts, and how it is printed."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.cli.index_jobs import say_indexed, say_waiting
from app.cli.output import counted, note, printable, say

if TYPE_CHECKING:
    from app.domain.ids import RunId
    from app.intake.rows import Reject


@dataclass(slots=True)
class Report:
    """What an ingest has done so far."""

    project: str
    stored: int = 0
    known: int = 0
    changed: int = 0
    refused: int = 0
    indexed: int = 0
    set_aside: int = 0
    cut: int = 0
    run_id: "RunId | None" = None
    seconds: float = 0.0
    rejects_file: str | None = None
    is_remote: bool = False
    unit: str = "line"
    remarks: Sequence[str] = ()
    warnings: Sequence[str] = ()
    first_reject: "Reject | None" = field(default=None, repr=False)

    @property
    def waiting(self) -> int:
        """How many of the newly stored extractions have no vector yet."""
        return max(0, self.stored - self.indexed - self.set_aside)


def print_report(report: Report) -> None:
    """Print the outcome for people."""
    total = report.stored + report.known
    if report.stored:
        rate = (
            f" in {report.seconds:.1f} s: {report.stored / report.seconds:,.0f} a second"
            if report.seconds
            else ""
        )
        say(f"Stored {counted(report.stored, 'new extraction')} in project {report.project}{rate}.")
    if report.known:
        _print_known(report, total)
    if not total:
        say("Stored nothing.")
    if report.indexed:
        say_indexed(report.indexed)
    if report.cut:
        say(f"Cut {report.cut:,} of them before embedding: they are longer than the model takes.")
    if report.set_aside:
        say(f"Set aside {report.set_aside:,}: they can't be embedded.")
    if report.waiting:
        say_waiting(report.waiting, remote=report.is_remote)
    if report.first_reject is not None:
        _print_refusal(report, report.first_reject)


def accepted_in(report: Report) -> str:
    """What an interrupted ingest has accepted."""
    accepted = report.stored + report.known
    known = f" ({report.known:,} of them were stored already)" if report.known else ""
    return f"{counted(accepted, 'extraction')} {'was' if accepted == 1 else 'were'} accepted{known}"


def _print_known(report: Report, total: int) -> None:
    everything = "" if report.stored else "Nothing new: "
    say(f"{everything}{report.known:,} of {total:,} were stored already, and weren't stored twice.")
    if report.changed:
        say(f"Changed the confidence, metadata or group of {report.changed:,} of them.")


def _print_refusal(report: Report, first: "Reject") -> None:
    if report.rejects_file is None:
        note(f"Error: {report.unit} {first.line}: {printable(first.reason)}")
        before = "Everything before it is stored. " if report.stored or report.known else ""
        note(f"{before}Correct the {report.unit} and run this again, or go on with --skip-invalid.")
    else:
        note(
            f"Refused {counted(report.refused, report.unit)}; the first is {report.unit} {first.line}: "
            f"{printable(first.reason)}"
        )
        note(f"{report.rejects_file} lists what was refused, with the reasons.")


def report_as_dict(report: Report) -> dict[str, Any]:
    """The outcome as JSON."""
    first = report.first_reject
    return {
        "project": report.project,
        "new": report.stored,
        "known": report.known,
        "changed": report.changed,
        "run_id": report.run_id,
        "indexed": report.indexed,
        "set_aside": report.set_aside,
        "cut": report.cut,
        "waiting": report.waiting,
        "refused": report.refused,
        "first_refused": None if first is None else {"line": first.line, "reason": first.reason},
        "rejects_file": report.rejects_file,
        "warnings": list(report.warnings),
        "seconds": round(report.seconds, 3),
    }
