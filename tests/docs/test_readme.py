"""What the README shows: the commands, the Python and the curl, each done as it says."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import ROOT, Cli, environment
from support.http_service import serving
from support.parts import settings_for

from containers import create_container, running

pytestmark = pytest.mark.slow

PAGE = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def test_make_run_finds_what_it_says(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    (question,) = re.findall(r'finds for "(.*?)"', PAGE)
    (command,) = re.findall(rf'agent-storage (search "{question}".*)', makefile)
    cli = Cli(tmp_path, EMBEDDING_PROVIDER="wordllama")
    cli("ingest", str(ROOT / "examples" / "wordnet.jsonl"), "--project", "wordnet")
    assert cli(*shlex.split(command)).stdout.decode() == blocks("text")[0]


def test_the_python_prints_what_it_says(tmp_path: Path) -> None:
    program = tmp_path / "readme.py"
    program.write_text(blocks("python")[0])
    (tmp_path / "home").mkdir()
    shown = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path / "home",
        env=environment(
            EMBEDDING_PROVIDER="wordllama", PYTHONPATH=str(ROOT), AGENT_STORAGE_HOME=str(tmp_path / "home")
        ),
        capture_output=True,
        check=True,
    )
    assert shown.stdout.decode() == blocks("text")[1]


async def test_the_curl_stores_replaces_and_finds(tmp_path: Path) -> None:
    (script,) = (block for block in blocks("bash") if "curl" in block)
    settings = settings_for(tmp_path)
    with running(create_container(settings)) as container:
        async with serving(container, settings) as (_, port):
            # Each answer on a line.
            script = script.replace(":8000/", f":{port}/").replace("curl ", "curl -sSw '\\n' ")
            shell = await asyncio.create_subprocess_exec(
                "bash", "-e", "-c", script, stdout=subprocess.PIPE, env=environment()
            )
            told, _ = await shell.communicate()
    assert shell.returncode == 0
    stored, replaced, found, changes, jobs = map(json.loads, told.decode().splitlines())
    assert (stored["new"], stored["waited"]["open_jobs"]) == (1, [])
    assert (replaced["added"], replaced["removed"]) == (1, 1)
    assert [hit["extraction"]["data"]["price"] for hit in found["items"]] == [36]
    assert [change["kind"] for change in changes["items"]] == ["added", "removed", "added"]
    assert {job["status"] for job in jobs["items"]} == {"completed"}
