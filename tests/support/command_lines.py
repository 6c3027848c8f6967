"""Command lines as documents show them, parsed as the program would parse them."""

from typing import Any

import typer

from app.cli.main import app


def parse(arguments: list[str]) -> None:
    """Parse the arguments of a command line, and run nothing; a wrong one raises a usage error."""
    command: Any = typer.main.get_command(app)
    name = "agent-storage"
    context: Any = None
    while hasattr(command, "resolve_command"):
        context = command.make_context(name, list(arguments), parent=context)
        rest = [*context._protected_args, *context.args]
        name, command, arguments = command.resolve_command(context, rest)
    command.make_context(name, list(arguments), parent=context)
