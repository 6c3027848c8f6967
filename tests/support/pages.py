"""The pages of the documentation, read as a reader does: each block is run, in the page's order."""

import ast
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from support.cli import ROOT, environment
from support.forked import fork_server

NOT_RUN = {
    "docker": "needs a container engine; tests/deploy/test_image.py runs the image's first process",
    "pip": "installs from an index; .ci/check-wheel installs what a release ships",
    "systemctl": "needs systemd as the machine's first process; tests/deploy/test_deploy.py verifies the units",
    "systemd-run": "needs systemd as the machine's first process",
    "useradd": "adds a user to the machine",
}
"""Commands of the pages that do nothing in a test, each with the reason."""

RUN_ELSEWHERE = {
    "mermaid": "tests/entrypoints/test_graph.py compares it with the container",
    "nginx": "tests/deploy/test_nginx.py runs nginx with it",
    "{literalinclude}": "tests import and run the included file",
    "{toctree}": "the site's build checks it",
}
"""Languages of blocks that a page's own test passes over, each with the reason."""

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_NAMED_FILE = re.compile(r"`([\w.-]+\.\w+)`")
_FORKED_COMMAND = ROOT / "tests" / "support" / "forked_command.py"
_TIMEOUT_S = 240


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block, and the paragraph above it, which may name the file to save it in."""

    language: str
    text: str
    paragraph: str


def pages() -> list[str]:
    """Return every Markdown file of the repository, by its path."""
    found = [*ROOT.glob("*.md")]
    for folder in ("bench", "docs", "examples", "tests"):
        found += (ROOT / folder).rglob("*.md")
    names = [str(path.relative_to(ROOT)) for path in found]
    return sorted(name for name in names if not name.startswith("docs/reference/"))


def text_of(name: str) -> str:
    """Return a page's text."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks_of(name: str) -> list[Block]:
    """Return a page's blocks, except those that are run elsewhere."""
    text = text_of(name)
    found = []
    for fence in _FENCE.finditer(text):
        if fence["language"] not in RUN_ELSEWHERE:
            paragraph = text[: fence.start()].rstrip().rpartition("\n\n")[2]
            found.append(Block(fence["language"], dedent(fence["text"]), paragraph))
    return found


def json_values(text: str) -> list[Any]:
    """Decode the JSON values that follow each other in ``text``."""
    values, decoder = [], json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        values.append(value)
        text = text[end:]
    return values


def _functions(server: int) -> str:
    """Define a shell's commands that do nothing, and an ``agent-storage`` that starts fast."""
    forked = f'{shlex.quote(sys.executable)} -IS {shlex.quote(str(_FORKED_COMMAND))} {server} "$@"'
    functions = dict.fromkeys(NOT_RUN, ":")
    functions |= {"agent-storage": forked, ".venv/bin/agent-storage": forked}
    return "".join(f"{name}() {{ {body}; }}\n" for name, body in functions.items())


class Page:
    """A page's blocks in order, and a folder to run them in.

    Put into ``replaced`` what a reader would replace in the blocks, such as a placeholder or an
    address, with what takes its place.
    """

    def __init__(self, name: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.folder = folder
        self.text = text_of(name)
        self.replaced: dict[str, str] = {}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = environment(PATH=path, **settings)
        self._blocks = blocks_of(name)
        self._found = set[str]()
        (folder / ".venv").symlink_to(sys.prefix)

    def take(self, language: str) -> str:
        """Return the next block, which must be of that language, with the replacements."""
        return self._next(language).text

    def save(self, language: str) -> str:
        """Write the next block to the file that its paragraph names last; return the block."""
        block = self._next(language)
        *_, name = _NAMED_FILE.findall(block.paragraph)
        (self.folder / name).write_text(block.text, encoding="utf-8")
        return block.text

    def run(self, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run the next block, which must be ``bash``; see :meth:`shell`."""
        return self.shell(self.take("bash"), **how)

    def shell(self, script: str, *, stdin: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a script up to the first command that fails; its exit code must be ``code``."""
        server = fork_server().fileno()
        done = subprocess.run(
            ["/bin/bash", "-euo", "pipefail", "-c", _functions(server) + script],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            pass_fds=[server],
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == code, f"{script}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def check_settings(self, language: str) -> None:
        """Load the next block with `config check`: `yaml` as ``page.yml``, `ini` as ``.env``."""
        text = self.take(language)
        if language == "yaml":
            (self.folder / "page.yml").write_text(text, encoding="utf-8")
            told = self.shell("agent-storage --config page.yml config check")
        else:
            (self.folder / ".env").write_text(text, encoding="utf-8")
            told = self.shell("agent-storage config check && rm .env")
        assert (told.stdout, told.stderr) == ("OK\n", "")

    async def python(self, names: dict[str, Any]) -> None:
        """Run the next block, which must be ``python`` and may await, with these names."""
        code = compile(self.take("python"), "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)  # noqa: S307 - the page's own code
        if inspect.isawaitable(running):
            await running

    def end(self) -> None:
        """Check that every block was taken, and that every text to replace was in one."""
        assert self._blocks == [], "blocks that its test doesn't run"
        assert self.replaced.keys() - self._found == set(), "no block has these"

    def _next(self, language: str) -> Block:
        block = self._blocks.pop(0)
        assert block.language == language, f"expected a block in {language}: {block}"
        text = block.text
        for shown, given in self.replaced.items():
            if shown in text:
                self._found.add(shown)
                text = text.replace(shown, given)
        return Block(language, text, block.paragraph)


@contextmanager
def reading(name: str, folder: Path, **settings: str) -> Iterator[Page]:
    """Read the page ``name`` in ``folder``, with these settings; every block must be taken."""
    page = Page(name, folder, settings)
    yield page
    page.end()
