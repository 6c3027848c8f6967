"""What commands say of wrong arguments: what to type instead."""

import pytest
from typer.testing import CliRunner

from app.cli.context import CliContext
from app.cli.main import app
from app.entrypoints.cli import draw_graph, open_parts


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            "search red lamp",
            "`agent-storage search` takes only QUERY, and has no place for 'lamp'. Put a text with spaces",
        ),
        (
            "verify repair",
            "`agent-storage verify` takes no arguments, only options, and has no place for 'repair'. Did you mean --repair?",
        ),
        ("extractions list a b", "takes no arguments, only options, and has no place for 'a b'."),
        ("runs undo a b", "takes only RUN, and has no place for 'b'."),
        ("search x --projekt y", "There is no option --projekt; did you mean --project?"),
        ("search x --zzz y", "There is no option --zzz; `agent-storage search --help` lists those there are."),
        ("runs sho", "No such command 'sho'. Did you mean 'show'?"),
        ("runs zzz", "No such command 'zzz'. The commands are list, show, diff, undo."),
        ("runs undo", "Missing argument 'RUN'. The run's id or name; of a name, the newest run."),
        ("search x --limit many", "must be an integer"),
    ],
)
def test_what_to_type_instead_is_said(arguments: str, told: str) -> None:
    def never(*_: object) -> None:
        raise AssertionError("nothing is served here")

    context = CliContext(None, open_parts, draw_graph, never, never)
    done = CliRunner().invoke(app, arguments.split(), obj=context)
    assert done.exit_code == 2
    shown = " ".join(done.output.replace("│", " ").split())
    assert told in shown
    assert "Got unexpected" not in shown
