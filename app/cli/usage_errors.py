"""Says what is wrong with the arguments of a command, and what to type instead."""

from difflib import get_close_matches
from typing import Any

_EXTRA = "Got unexpected extra argument"

# Typer has no public types for its commands, parameters and usage errors.


def reword(error: Any) -> None:  # noqa: ANN401 - a usage error of Typer's
    """Replace the parser's message of a usage error by one that says what to type instead."""
    if errors := getattr(error.__cause__, "errors", None):
        from app.intake.refusals import refusal_of

        error.message = refusal_of(errors()[0])
    elif getattr(error, "ctx", None) is None:
        return
    elif error.message.startswith(_EXTRA):
        error.message = _extra(error.ctx, error.message.partition(" (")[2][:-1])
    elif hasattr(error, "possibilities"):
        error.message, error.possibilities = _option(error), None
    elif error.message.startswith("No such command") and "Did you mean" not in error.message:
        names = ", ".join(name for name, each in error.ctx.command.commands.items() if not each.hidden)
        error.message += f" The commands are {names}."
    elif hasattr(error, "param_type") and not error.message and getattr(error.param, "help", None):
        error.message = error.param.help


def _extra(ctx: Any, extra: str) -> str:  # noqa: ANN401 - the context of the command
    """The message for arguments that a command has no place for."""
    names = [each.metavar or each.name.upper() for each in _arguments(ctx)]
    takes = f"only {', '.join(names)}" if names else "no arguments, only options"
    near = get_close_matches(f"--{extra}", _options(ctx), n=1, cutoff=0.8)
    way = f"Did you mean {near[0]}?" if near else "Put a text with spaces in quotes." if names else ""
    return f"`{ctx.command_path}` takes {takes}, and has no place for {extra!r}. {way}".rstrip()


def _option(error: Any) -> str:  # noqa: ANN401 - a NoSuchOption of Typer's
    near = get_close_matches(error.option_name, _options(error.ctx), n=1)
    way = f"did you mean {near[0]}?" if near else f"`{error.ctx.command_path} --help` lists those there are."
    return f"There is no option {error.option_name}; {way}"


def _arguments(ctx: Any) -> list[Any]:  # noqa: ANN401 - as above
    return [each for each in ctx.command.params if each.param_type_name == "argument"]


def _options(ctx: Any) -> list[str]:  # noqa: ANN401 - as above
    return [
        name
        for each in ctx.command.params
        if each.param_type_name == "option" and not each.hidden
        for name in (*each.opts, *each.secondary_opts)
    ]
