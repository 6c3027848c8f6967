"""Commands in this process, with all branches of their output, locally and over the API.

The other tests of the command line run it in separate processes, which coverage doesn't see.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.api import serving
from typer.testing import CliRunner

from app.cli.context import CliContext
from app.cli.main import app
from app.entrypoints.cli import draw_graph, open_parts


def fact(source: str, text: str, **changes: Any) -> dict[str, Any]:
    return {"source_uri": source, "extraction_type": "fact", "data": {"fact_text": text}} | changes


FIRST = [fact("a", "35 euro", source_group="g"), fact("a", "open", confidence=0.5), fact("b", "old")]
SECOND = [fact("a", "36 euro", source_group="h"), fact("a", "open", confidence=0.9)]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A new folder with two files; the commands' changes to logging are undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDDING_PROVIDER", "deterministic")
    for name, items in (("1.jsonl", FIRST), ("2.jsonl", [*SECOND, {"source_uri": "b", "gone": True}])):
        Path(name).write_text("".join(json.dumps(item) + "\n" for item in items))
    loggers = [logging.getLogger(), logging.getLogger("app")]
    levels, handlers = [logger.level for logger in loggers], list(loggers[0].handlers)
    yield tmp_path
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    loggers[0].handlers[:] = handlers


def cli(*arguments: str, code: int = 0, answer: str | None = None) -> str:
    """What a command says, on both streams."""

    def never(*_: object) -> None:
        raise AssertionError("nothing is served here")

    context = CliContext(None, open_parts, draw_graph, never, never)
    result = CliRunner().invoke(app, arguments, obj=context, input=answer)
    assert result.exit_code == code, (arguments, result.output, result.exception)
    return " ".join(result.output.replace("│", " ").split())


def follow(*api: str) -> None:
    """The two readings, looked at from all sides, taken back, and cleared away."""
    assert "3 added" in cli("ingest", "1.jsonl", "--replace", "source", "--run", "one", *api)
    tried = cli("ingest", "2.jsonl", "--replace", "source", "--dry-run", *api)
    assert "Would replace 2 sources" in tried
    done = json.loads(
        cli(
            "ingest",
            "2.jsonl",
            "-p",
            "default",
            "--replace",
            "project",
            "--run",
            "two",
            "--run-meta",
            "model=m",
            "--json",
            *api,
        )
    )
    assert (done["added"], done["changed"], done["removed"]) == (1, 1, 2)
    for command, expected in (
        (("sources", "list"), "h"),
        (("sources", "list", "--gone"), "b"),
        (("sources", "list", "--json"), '"uri":'),
        (("sources", "show", "a"), "h"),
        (("sources", "show", "a", "--json"), '"extractions": 2'),
        (("runs", "list"), "two"),
        (("runs", "list", "--json"), '"name":'),
        (("runs", "show", "two"), "model m"),
        (("runs", "show", "two", "--json"), '"model": "m"'),
        (("runs", "diff", "two"), "36 euro"),
        (("runs", "diff", "two", "--json"), '"kind":'),
        (("history", "a"), "35 euro"),
        (("history", "a", "--json"), '"removed"'),
        (("history", done["sources"][0]["id"], "--limit", "1"), "euro"),
    ):
        assert expected in cli(*command, *api), command
    assert "no run" in cli("runs", "show", "none", *api, code=1)
    assert "no source" in cli("sources", "show", "nowhere", *api, code=1)
    cli("runs", "undo", "two", *api, code=1, answer="n\n")
    assert "restored 2 extractions" in cli("runs", "undo", "two", "--yes", *api)
    assert '"left_alone"' in cli("runs", "undo", "one", "--yes", "--json", *api)
    cli("ingest", "1.jsonl", "--run", "three", *api)
    cli("sources", "delete", "b", *api, code=1, answer="n\n")
    assert "1" in cli("sources", "delete", "b", "--yes", *api)
    cli("ingest", "2.jsonl", "--replace", "source", "--json", *api)
    assert '"pruned"' in cli("sources", "prune", "--yes", "--json", *api)


@pytest.mark.usefixtures("place")
def test_following_sources_here() -> None:
    follow()
    for command in (
        ("backup", "kept"),
        ("backup", "kept", "--keep", "1", "--json"),
        ("restore", "--check", "--json"),
    ):
        cli(*command)
    cli("restore", "kept", code=1)
    cli("restore", "kept", "--overwrite")
    cli("verify", "--repair")
    for line in (
        "projects list",
        "projects list --json",
        "jobs list",
        "jobs list --json",
        "jobs prune --older-than 1s",
        "metrics",
        "metrics --json",
        "doctor",
        "config show",
        "db upgrade",
        "search euro --json",
        "search euro",
        "optimize",
        "projects delete default --yes",
    ):
        cli(*line.split())
    assert json.loads(cli("projects", "list", "--json")) == {"items": []}


async def test_following_sources_over_the_api(place: Path) -> None:
    async with serving(place / "service") as api:

        async def work() -> None:
            while True:
                await api.work()
                await asyncio.sleep(0.01)

        working = asyncio.ensure_future(work())
        try:
            await asyncio.to_thread(follow, "--api", f"http://127.0.0.1:{api.port}")
        finally:
            working.cancel()
