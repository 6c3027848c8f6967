"""The nightly crawl of the page on following sources, done as it says, with what it says of it."""

import re
import shlex
from pathlib import Path

import pytest
from support.cli import Cli

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "following-sources.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """The page's command lines, without the program's name."""
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("agent-storage ")]
    return [shlex.split(line)[1:] for line in lines]


def test_the_nightly_crawl(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    monday, tuesday = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "monday.jsonl").write_text(monday)
    (tmp_path / "tuesday.jsonl").write_text(tuesday)
    first, dry, second, search, history, diff, undo = commands()
    assert "7 added, 0 changed, 0 unchanged, 0 removed" in cli(*first).stdout.decode()
    for command in (dry, second):
        assert "2 added, 1 changed, 2 unchanged, 4 removed" in cli(*command).stdout.decode()
    assert "2 added, 1 changed, 2 unchanged, 4 removed" in " ".join(PAGE.split())
    now = cli(*search).stdout.decode()
    assert "36 euro" in now
    assert "35 euro" not in now
    assert "35 euro" in cli(*history).stdout.decode()
    assert "toaster" in cli(*diff).stdout.decode()
    cli(*undo)
    found = {hit["data"]["fact_text"] for hit in cli.json(*search, "--limit", "50")}
    assert found == set(re.findall(r'"fact_text": "(.*?)"', monday))
    assert cli.json("verify")["remaining"] == 0
