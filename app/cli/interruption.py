"""What a command says when Ctrl-C has ended it half-way."""

import shlex
import sys

import typer

from app.cli.output import note
from app.exit_codes import INTERRUPTED


class Interruption:
    """A context that notes whether Ctrl-C has ended the command, which then exits by itself."""

    def __init__(self) -> None:
        self.happened = False

    def __enter__(self) -> None:
        """Enter the context."""

    def __exit__(self, _: object, leaving: BaseException | None, __: object) -> None:
        """Note how the command ends."""
        self.happened = isinstance(leaving, typer.Exit) and leaving.exit_code == INTERRUPTED


def say_interrupted(done: str, *, from_stdin: bool) -> None:
    """Say on one line what is done, and which command goes on."""
    command = shlex.join(["agent-storage", *sys.argv[1:]])
    same = "the same command with the same input" if from_stdin else "the same command"
    note(f"Interrupted: {done}. To go on, run {same} again, which stores nothing twice: {command}")
