"""Terminals as they are: other encodings, and data that would drive them."""

import json
import subprocess
from pathlib import Path

import pytest
from support.cli import COMMAND, Cli, environment

pytestmark = pytest.mark.slow

DRIVES = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202egnp.exe\u2066\u200f end\r\n"
TEXT = f"naïve 寿司 🍣 {DRIVES}"
ITEM = {
    "source_uri": f"doc:{TEXT}",
    "source_group": f"group {TEXT}",
    "extraction_type": f"type {TEXT}",
    "data": {"fact_text": TEXT, f"key {TEXT}": TEXT},
    "metadata": {"page": TEXT},
}
FORBIDDEN = [
    *"\x07\r\x7f\u061c\u200e\u200f\u202a\u202b\u202d\u202e\u2066\u2067\u2068",
    "\x1b]",
    "\x1b[31m",
    *map(chr, range(0x80, 0xA0)),
]
COMMANDS = (
    ("search", "sushi"),
    ("extractions", "list"),
    ("extractions", "count", "--by", "type", "--by", "metadata.page", "--by", "group"),
    ("extractions", "count", "--where", f"n = {json.dumps(TEXT)}"),
    ("projects", "list"),
    ("projects", "describe", "default"),
    ("sources", "list"),
    ("history", f"doc:{TEXT}"),
    ("runs", "list"),
    ("jobs", "list"),
    ("doctor",),
    ("extractions", "list", "--where", f"{json.dumps(TEXT)} exists"),
)
REFUSED = (
    ("extractions", "list", "-p", TEXT),
    ("sources", "show", TEXT),
    ("jobs", "show", TEXT),
    ("runs", "show", TEXT),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Cli(tmp_path)("ingest", "-", "--run", f"run {TEXT.splitlines()[0]}", stdin=json.dumps(ITEM).encode())
    return tmp_path


def require_harmless(printed: bytes, encoding: str) -> None:
    text = printed.decode(encoding)
    assert not [drives for drives in FORBIDDEN if drives in text], text


def test_data_drives_no_terminal(folder: Path) -> None:
    cli = Cli(folder)
    for command in COMMANDS:
        done = cli(*command)
        require_harmless(done.stdout + done.stderr, "utf-8")
        written = cli(*command, "--json").stdout
        require_harmless(written, "utf-8")
        if command == ("extractions", "list"):
            [shown] = json.loads(written)["items"]
            assert (shown["data"], shown["metadata"]) == (ITEM["data"], ITEM["metadata"])


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_another_encoding_degrades_and_json_stays_valid(folder: Path, encoding: str) -> None:
    def run(*command: str) -> bytes:
        """Run in a new interpreter, which reads its encoding at its start."""
        done = subprocess.run(
            [*COMMAND, *command],
            cwd=folder,
            env=environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0"),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr.decode(encoding)
        require_harmless(done.stderr, encoding)
        return done.stdout

    for command in COMMANDS[:3]:
        require_harmless(run(*command), encoding)
        assert json.loads(run(*command, "--json"))
    [shown] = json.loads(run("extractions", "list", "--json"))["items"]
    assert shown["data"] == ITEM["data"]


def test_errors_name_what_was_given_without_its_signs(folder: Path) -> None:
    for command in REFUSED:
        with Cli(folder).start(*command) as process:
            out, err = process.communicate(timeout=60)
        assert process.returncode in {1, 2}
        for printed in (out, err):
            require_harmless(printed, "utf-8")
