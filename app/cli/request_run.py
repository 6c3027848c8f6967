"""The run under which a command stores extractions: ``--run`` and ``--run-meta``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from app.cli.context import to_paste, usage_error
from app.cli.output import say

if TYPE_CHECKING:
    from app.cli.ports import ServiceParts
    from app.domain.ids import RunId


class OfRun:
    """The run of a command, begun before its first write, and ended even if the command fails."""

    def __init__(self, name: str | None, metadata: dict[str, str] | None) -> None:
        self._name = name
        self._metadata = metadata
        self._id: RunId | None = None

    async def begin(self, parts: "ServiceParts", project: str) -> "RunId | None":
        """Return the run's id, if there is a run; the first call begins the run."""
        if self._id is None and self._name is not None:
            self._id = (await parts.runs().begin(project, self._name, self._metadata)).id
        return self._id

    async def end(self, parts: "ServiceParts", project: str) -> None:
        """End the run, if it was begun."""
        if self._id is not None:
            await parts.runs().end(project, self._id)


def of_run(name: str | None, members: Sequence[str]) -> OfRun:
    """Make the run from a command's options; invalid options end the command."""
    if members and name is None:
        usage_error("--run-meta requires --run NAME")
    metadata: dict[str, str] = {}
    for member in members:
        key, equals, value = member.partition("=")
        if not (key and equals):
            usage_error(f"--run-meta takes KEY=VALUE, not {member!r}")
        metadata[key] = value
    return OfRun(name, metadata or None)


def undo_hint(ctx: typer.Context, api: str | None, project: str, run_id: "RunId | str") -> str:
    """The command that undoes a run, as every command prints it."""
    return to_paste(ctx, api, "runs", "undo", str(run_id), "--project", project)


def say_run(ctx: typer.Context, api: str | None, project: str, run_id: "RunId | str | None") -> None:
    """Say under which run a command has stored, if under one, and how to undo it."""
    if run_id is not None:
        say(f"This is run {run_id}; {undo_hint(ctx, api, project, run_id)} reverts it.")
