"""What ``--json`` prints: one object, as the API answers it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import typer
from support.cli import Cli
from support.following import GONE, PAGE, read_twice, source_id
from support.processes import Service, serve_process

from app.cli.main import app

pytestmark = pytest.mark.slow

COMMANDS = {
    "search": "bread",
    "history": PAGE,
    "verify": "",
    "metrics": "",
    "reindex": "",
    "optimize": "",
    "adopt": "--yes",
    "doctor": "",
    "jobs list": "",
    "jobs prune": "--older-than 7d",
    "jobs pause": "verify",
    "jobs resume": "verify",
    "projects list": "",
    "projects describe": "default",
    "extractions list": "--limit 2",
    "extractions count": "",
    "extractions retry": "",
    "sources list": "",
    "sources show": PAGE,
    "runs list": "",
    "runs show": "tuesday",
    "runs diff": "tuesday",
    "runs undo": "tuesday --yes",
    "embedders list": "",
    "embedders compare": "pairs.jsonl --embedder deterministic",
    "db upgrade": "",
    "config show": "",
    "config check": "",
    "backup": "backups",
    "restore": "backups --overwrite",
    "ingest": "facts.jsonl",
    "sources delete": f"{GONE} --yes",
    "extractions delete": "--all --yes",
    "sources prune": "--yes",
    "projects delete": "default --yes",
}
"""Arguments for each command, in an order in which all succeed."""

TRIED_ELSEWHERE = {"jobs show", "jobs retry", "jobs cancel", "extractions show", "chaos", "changes"}
"""They need an id, or a minute, or print one object a line."""


def commands_with_json() -> set[str]:
    def walk(command: Any, path: tuple[str, ...]) -> Iterator[str]:
        for name, each in getattr(command, "commands", {}).items():
            yield from walk(each, (*path, name))
        if any("--json" in param.opts for param in command.params):
            yield " ".join(path)

    return set(walk(typer.main.get_command(app), ()))


def test_every_command_prints_one_object(tmp_path: Path) -> None:
    read_twice(tmp_path)
    fact = {"source_uri": GONE, "extraction_type": "fact", "data": {"text": "back"}}
    (tmp_path / "facts.jsonl").write_text(json.dumps(fact) + "\n")
    (tmp_path / "pairs.jsonl").write_text('{"query": "which fact", "text": "fact number 1"}\n')
    cli = Cli(tmp_path)
    for name, arguments in COMMANDS.items():
        printed = cli.json(*name.split(), *arguments.split())
        assert isinstance(printed, dict), name
        assert isinstance(printed.get("items", []), list), name


def test_every_command_is_tried() -> None:
    assert {*COMMANDS, *TRIED_ELSEWHERE} == commands_with_json()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    read_twice(tmp_path)
    with serve_process(tmp_path, {}) as service:
        yield service


@pytest.mark.parametrize("is_remote", [False, True])
def test_a_command_prints_what_the_api_answers(tmp_path: Path, service: Service, is_remote: bool) -> None:
    cli = Cli(tmp_path)
    there = ("--api", service.url) if is_remote else ()
    with httpx2.Client(base_url=f"{service.url}/v1", trust_env=False, timeout=30) as client:
        page = f"/projects/default/sources/{source_id(PAGE)}"
        run = "/projects/default/runs/tuesday"
        [extraction, *_] = cli.items("extractions", "list")
        for path, command in (
            ("/projects", ("projects", "list")),
            ("/projects/default/sources", ("sources", "list")),
            (page, ("sources", "show", PAGE)),
            (f"{page}/history", ("history", PAGE)),
            ("/projects/default/runs", ("runs", "list")),
            (run, ("runs", "show", "tuesday")),
            (f"{run}/changes", ("runs", "diff", "tuesday")),
            ("/projects/default/extractions?sort=-created", ("extractions", "list")),
            ("/projects/default/extractions/count", ("extractions", "count")),
            (f"/extractions/{extraction['id']}", ("extractions", "show", extraction["id"])),
            ("/projects/default/describe", ("projects", "describe", "default")),
            ("/jobs", ("jobs", "list")),
        ):
            require_same(client.get(path).json(), cli.json(*command, *there))
        body = {"query": "bread", "collapse": True}
        require_same(client.post("/search", json=body).json(), cli.json("search", "bread", *there))
        facets = client.post("/projects/default/facets", json={"by": ["type"]}).json()
        require_same(facets, cli.json("extractions", "count", "--by", "type", *there))


def require_same(answer: dict[str, Any], printed: dict[str, Any]) -> None:
    """A command has ``more`` instead of a cursor, and may name the project."""
    if "next_cursor" in answer:
        assert answer.pop("next_cursor") is None
        assert printed.pop("more", False) is False
    if "project" not in answer:
        printed.pop("project", None)
    assert printed == answer


def test_a_list_says_whether_it_goes_on(tmp_path: Path) -> None:
    read_twice(tmp_path)
    cli = Cli(tmp_path)
    for command in (
        "extractions list",
        "sources list",
        "runs list",
        "jobs list",
        "search e",
        f"history {PAGE}",
    ):
        first = cli.json(*command.split(), "--limit", "1")
        assert (len(first["items"]), first["more"]) == (1, True), command
        everything = cli.json(*command.split(), "--limit", "50")
        assert (len(everything["items"]) > 1, everything["more"]) == (True, False), command
    assert "There are more than these 1" in cli("runs", "list", "--limit", "1").stderr.decode()
    nothing = cli.json("extractions", "list", "--extraction-type", "none")
    assert nothing == {"items": [], "more": False, "warnings": ['no fact has the type "none"']}
