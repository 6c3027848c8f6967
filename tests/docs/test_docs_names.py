"""What the pages name exists: commands with their options, tests, and metrics."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_lines import parse

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "docs/decisions", "docs/extending", "examples", "tests", "bench")
PAGES = [page for folder in FOLDERS for page in sorted((ROOT / folder).glob("*.md"))]

_FENCE = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_END_OF_COMMAND = re.compile(r"\||>|<\(|\)|&&|;|#")
_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")
_PLACEHOLDERS = {"ID": "00000000-0000-0000-0000-000000000001"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands(page: Path) -> Iterator[str]:
    """Yield the command lines of the page's blocks, without the program's name."""
    for block in _FENCE.findall(text_of(page).replace("\\\n", " ")):
        for line in block.splitlines():
            for found in re.finditer(r"(?:^|[\s/(])agent-storage (?=[a-z]|--config|--version)", line):
                yield _first(line[found.end() :])


def _first(line: str) -> str:
    """Cut a line at the end of its first command, outside quotes."""
    masked = _QUOTED.sub(lambda found: "x" * len(found[0]), line)
    end = _END_OF_COMMAND.search(masked)
    return (line if end is None else line[: end.start()]).strip()


COMMANDS = [
    pytest.param(command, id=f"{page.relative_to(ROOT)}: {command}")
    for page in PAGES
    for command in dict.fromkeys(commands(page))
]


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) > 60


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_knows_every_command_of_the_pages(command: str) -> None:
    parse([_PLACEHOLDERS.get(word, word) for word in shlex.split(command)])


def test_every_test_that_a_page_names_exists() -> None:
    files = {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}
    functions = {
        name for path in files.values() for name in re.findall(r"def (test_\w+)", path.read_text("utf-8"))
    }
    for page in PAGES:
        text = text_of(page)
        paths = re.findall(r"\btests/[\w/]+\.py", text)
        assert [path for path in paths if not (ROOT / path).is_file()] == [], page
        assert [name for name in re.findall(r"\btest_\w+\.py", text) if name not in files] == [], page
        named = re.findall(r"`(test_\w+)`", text)
        assert [name for name in named if name not in functions] == [], page


def test_every_script_that_a_page_names_exists() -> None:
    for page in PAGES:
        scripts = re.findall(r"\bpython ([\w/]+\.py)|`(bench/\w+\.py)`", text_of(page))
        assert [path for path in map("".join, scripts) if not (ROOT / path).is_file()] == [], page


def test_every_link_to_a_file_leads_to_one() -> None:
    """The build checks the links of the site's pages; the README isn't one of them."""
    for page in PAGES:
        links = re.findall(r"\]\(([^)\s#:]+)(?:#[\w-]+)?\)", text_of(page))
        written = [link for link in links if "reference/" not in link]
        assert [link for link in written if not (page.parent / link).exists()] == [], page
