"""Run the page on exports: its commands, one shell each, and its move to PostgreSQL."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from support.cli import Cli, environment

from app.domain.items import OF_AN_ANSWER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("jq") is None, reason="the page's commands use jq"),
]

PAGE = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text(encoding="utf-8")
URL = "postgresql://storage@db.example/storage"
FACTS = [
    {
        "source_uri": f"https://shop.example/{number // 2}",
        "source_group": "shop",
        "extraction_type": "offer",
        "confidence": 0.5 + number / 40,
        "data": {"fact_text": f"The kettle number {number} costs {number}.99 euro."},
        **({"metadata": {"page": number}} if number % 2 else {}),
    }
    for number in range(20)
]


def blocks(language: str) -> list[str]:
    return [
        dedent(found[1])
        for found in re.finditer(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    ]


def shell(folder: Path, script: str) -> str:
    """Run a script of which each command must succeed, and return what it prints."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["/bin/bash", "-euc", script],
        cwd=folder,
        env=environment(PATH=path),
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_the_page(tmp_path: Path, postgres_url: str) -> None:
    lines = "".join(json.dumps(fact) + "\n" for fact in FACTS)
    Cli(tmp_path)("ingest", "-", "-p", "shop", stdin=lines.encode())
    export, again, move, compare = blocks("bash")
    assert shell(tmp_path, export).count("euro.") == 8
    for name in re.findall(r"-o (\S+)", export):
        assert (tmp_path / name).is_file()
    shell(tmp_path, again)
    [settings] = blocks("yaml")
    assert URL in settings
    (tmp_path / "new.yml").write_text(settings.replace(URL, postgres_url))
    shell(tmp_path, move)
    shell(tmp_path, compare)
    new = Cli(tmp_path, AGENT_STORAGE_CONFIG=str(tmp_path / "new.yml"))
    moved = [json.loads(line) for line in new("export", "-p", "shop").stdout.splitlines()]
    assert sorted(map(json.dumps, moved)) == sorted(map(json.dumps, map(_as_written, FACTS)))
    assert {project["name"] for project in new.json("projects", "list")} == {"shop", "kettles"}


def _as_written(fact: dict[str, object]) -> dict[str, object]:
    """Return the members in the order of an export."""
    names = ("source_uri", "source_group", "extraction_type", "confidence", "metadata", "data")
    return {name: fact[name] for name in names if name in fact}


def test_the_page_names_what_an_answer_adds() -> None:
    [named] = re.findall(r"members that only answers have \((.*?)\)", " ".join(PAGE.split()))
    assert set(re.findall(r"`(\w+)`", named)) == OF_AN_ANSWER
