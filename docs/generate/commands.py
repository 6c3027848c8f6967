"""The command-line reference, from the commands themselves."""

from collections.abc import Iterator, Sequence
from typing import Any

import typer

from app.cli.index import DIFFER
from app.cli.ingest import SOME_REFUSED
from app.cli.main import app
from app.exit_codes import INTERRUPTED
from generate.markdown import code, page, plain, table

_INTRODUCTION = """\
Every command of `agent-storage`, with its arguments and options.

`agent-storage COMMAND --help` prints the same in a terminal. `--config FILE` goes before the
command. A command reads the [configuration](configuration.md) of the current directory.

Results go to standard output, everything else to standard error.

With `--json` a command prints one JSON object. It has the fields of the
[API's](api.md) answer to the same request; a command that sends several prints their totals. A
list is in `items`, and `more` says whether it goes on after `--limit`. Times are in UTC, with `Z`.
`agent-storage search kettle --json | jq '.items[].extraction.data'` prints what the hits say.
Only `changes` prints one object a line (JSON lines), because a feed has no end.

The exit codes:"""

FAILED = "1"
"""The exit code of a command that an error ended."""

EXIT_CODES = (
    ("0", "The command succeeded."),
    (FAILED, "The command failed. The message says what was asked and [what to do](errors.md)."),
    ("2", "The arguments are wrong."),
    (str(SOME_REFUSED), "`ingest --skip-invalid` rejected some lines and stored the others."),
    (
        str(DIFFER),
        "`verify` found differences between the two stores that remain; a check of `chaos` failed.",
    ),
    (str(INTERRUPTED), "Ctrl-C."),
)
"""Each exit code with its meaning, as Markdown."""

# Typer has no public types for the commands that it builds.
Command = Any
Parameter = Any


def commands_page() -> str:
    """Generate the page."""
    program = typer.main.get_command(app)
    commands = [_command(path, command) for path, command in walk(program, ("agent-storage",))]
    codes = table(("Code", "Meaning"), EXIT_CODES)
    return page("# Command line", _INTRODUCTION, codes, "## The program", _parameters(program), *commands)


def walk(group: Command, path: Sequence[str]) -> Iterator[tuple[str, Command]]:
    """Yield every command below ``group`` with its full name, in the order of the help."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        yield " ".join((*path, name)), command
        if hasattr(command, "commands"):
            yield from walk(command, (*path, name))


def _command(path: str, command: Command) -> str:
    level = "##" if path.count(" ") == 1 else "###"
    usage = "" if hasattr(command, "commands") else f"```text\n{_usage(path, command)}\n```"
    paragraphs = [plain(paragraph) for paragraph in (command.help or "").split("\n\n")]
    return page(f"{level} `{path}`", usage, *paragraphs, _parameters(command)).rstrip()


def _usage(path: str, command: Command) -> str:
    names = [_metavar(each) for each in command.params if _is_argument(each)]
    return " ".join((path, *names, "[OPTIONS]"))


def _parameters(command: Command) -> str:
    shown = [each for each in command.params if not getattr(each, "hidden", False)]
    return table(("", "Default", "Meaning"), [_row(each) for each in shown])


def _row(parameter: Parameter) -> tuple[str, str, str]:
    if _is_argument(parameter):
        names = code(_metavar(parameter))
    else:
        value = "" if parameter.is_flag else f" {_metavar(parameter)}"
        names = ", ".join(code(f"{name}{value}") for name in (*parameter.opts, *parameter.secondary_opts))
    return names, _default(parameter), _meaning(parameter)


def _is_argument(parameter: Parameter) -> bool:
    return not parameter.opts[0].startswith("-")


def _metavar(parameter: Parameter) -> str:
    annotation = parameter.type_descriptor.annotation
    kinds = {"int": "NUMBER", "float": "NUMBER", "Path": "FILE"}
    named = parameter.metavar or (parameter.name.upper() if _is_argument(parameter) else None)
    return named or kinds.get(annotation.__name__, "TEXT")


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    return "" if default is None or default is False or default == () else code(str(default))


def _meaning(parameter: Parameter) -> str:
    words = [plain(parameter.help or "")]
    least, most = parameter.min, parameter.max
    if least is not None or most is not None:
        words.append(f"From {least} to {most:,}." if most is not None else f"{least} or more.")
    if parameter.envvar:
        words.append(f"Also {code(str(parameter.envvar))}.")
    return " ".join(words)
