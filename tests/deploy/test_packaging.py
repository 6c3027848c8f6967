"""What a new user gets: the wheel in a clean environment, the locks, the Makefile, the example."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping, Sequence
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.domain.ids import project_id_of
from app.domain.items import extraction_id_of, parse_item

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-docs.lock")
PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?P<rest>.*(?:\n    .*)*)", re.MULTILINE)


def run(
    *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None, expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run a command with nothing of this process's environment but PATH and ``env``."""
    outcome = subprocess.run(
        command,
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd), **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert outcome.returncode == expect, outcome.stdout + outcome.stderr
    return outcome


def project() -> dict[str, list[str]]:
    """The ``[project]`` table's dependencies and the dependency groups, by name."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = {
        name: [entry for entry in group if isinstance(entry, str)]
        for name, group in table["dependency-groups"].items()
    }
    return {"runtime": table["project"]["dependencies"], **groups}


def pins(lock: str) -> list[Requirement]:
    """Every pin of a lock file, with its marker and without its hashes."""
    text = (ROOT / lock).read_text()
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if line[:1].isalnum()]


# --- the wheel ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources so that the tree stays as it is."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "app", tree / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("containers.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    run(*build, "--wheel-dir", tree / "dist", tree, cwd=tree)
    (built,) = (tree / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="session")
def clean_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with only the wheel and the packages of ``requirements.lock``.

    The locked packages aren't downloaded again: each is linked from the environment that runs the
    tests.
    """
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    build_only = {Requirement(text).name for text in project()["build"]}
    for pin in pins("requirements.lock"):
        if pin.name not in build_only and (pin.marker is None or pin.marker.evaluate()):
            link_distribution(pin.name, site)
    return python.parent


def link_distribution(name: str, site: Path) -> None:
    installed = distribution(name)
    for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(str(installed.locate_file(top)))


def test_the_wheel_holds_the_container_and_all_of_app_and_nothing_else(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / "app").rglob("*.py")}
    data = {"app/py.typed", "app/sql/migrations/script.py.mako"}
    assert {name for name in names if ".dist-info/" not in name} == {"containers.py"} | sources | data


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    archive = ZipFile(wheel)
    (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = Parser().parsestr(archive.read(path).decode())
    assert metadata["Name"] == "agent-storage"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11", "<3.14"}
    assert [name for name in archive.namelist() if name.endswith(".dist-info/licenses/LICENSE")]


def test_the_wheel_alone_is_what_the_clean_environment_runs(clean_bin: Path, tmp_path: Path) -> None:
    code = "import app, containers; print(app.__file__); print(containers.__file__)"
    paths = run(clean_bin / "python", "-c", code, cwd=tmp_path).stdout.split()
    assert [path for path in paths if path.startswith(str(clean_bin.parent))] == paths
    missing = run(clean_bin / "python", "-c", "import pytest", cwd=tmp_path, expect=1)
    assert "No module named 'pytest'" in missing.stderr


def test_the_installed_command_explains_itself(clean_bin: Path, tmp_path: Path) -> None:
    usage = run(clean_bin / "agent-storage", "--help", cwd=tmp_path).stdout
    assert {"ingest", "search", "verify", "doctor"} <= set(usage.split())
    assert not list(tmp_path.iterdir())


def test_the_installed_command_stores_and_finds(clean_bin: Path, tmp_path: Path) -> None:
    with (ROOT / "examples" / "wordnet.jsonl").open() as example:
        (tmp_path / "facts.jsonl").write_text("".join(next(example) for _ in range(50)))
    command = clean_bin / "agent-storage"
    run(command, "ingest", "facts.jsonl", "--project", "clean", cwd=tmp_path)
    found = run(
        command, "search", "a human being", "--project", "clean", "--limit", "1", "--json", cwd=tmp_path
    )
    assert "person, individual" in found.stdout


# --- the locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_has_hashes_for_every_pin_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    found = list(PIN.finditer(text))
    assert len(found) == len(pins(lock)) > len(project()["runtime"])
    assert [pin["name"] for pin in found if "--hash=sha256:" not in pin["rest"]] == []
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links", text)


@pytest.mark.parametrize(
    ("lock", "groups"), list(zip(LOCKS, (["runtime", "build"], ["dev"], ["bench"], ["docs"]), strict=True))
)
def test_a_lock_satisfies_what_is_declared(lock: str, groups: Sequence[str]) -> None:
    versions: dict[str, list[str]] = {}
    for pin in pins(lock):
        versions.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    for wanted in (Requirement(text) for group in groups for text in project()[group]):
        locked = versions[canonicalize_name(wanted.name)]
        assert all(wanted.specifier.contains(version) for version in locked), wanted


def test_each_lock_extends_the_one_before() -> None:
    """The same versions, and more packages; a later lock may need one on more systems."""
    runtime, dev, bench, docs = ({(pin.name, str(pin.specifier)) for pin in pins(lock)} for lock in LOCKS)
    assert runtime < dev < bench
    assert runtime < docs


def test_the_build_requirement_is_the_locked_one() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert table["build-system"]["requires"] == project()["build"]


# --- the Makefile ---------------------------------------------------------------------------------


@pytest.fixture
def fresh_tree(tmp_path: Path) -> Path:
    """As much of a clone as make looks at before it installs anything."""
    for name in ("Makefile", "pyproject.toml", *LOCKS):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_make_alone_lists_the_targets(fresh_tree: Path) -> None:
    listed = run("make", cwd=fresh_tree).stdout
    assert {"run", "test", "check", "clean"} <= set(listed.split())


def test_make_names_a_python_that_is_not_there(fresh_tree: Path) -> None:
    refused = run("make", "run", "PYTHON=python-of-nowhere", cwd=fresh_tree, expect=2)
    assert "no python-of-nowhere here" in refused.stderr
    assert not (fresh_tree / ".venv").exists()


def test_make_refuses_a_python_of_another_version(fresh_tree: Path) -> None:
    other = fresh_tree / "other-python"
    other.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.14.1\n')
    other.chmod(0o755)
    refused = run("make", "test", f"PYTHON={other}", cwd=fresh_tree, expect=2)
    assert "needs Python 3.11, 3.12 or 3.13" in refused.stderr
    assert "is Python 3.14.1" in refused.stderr
    assert not (fresh_tree / ".venv").exists()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_a_page_names_only_targets_that_exist(page: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))
    assert named
    assert named <= targets


# --- the example ----------------------------------------------------------------------------------


def test_the_example_holds_2000_extractions() -> None:
    wordnet = project_id_of("wordnet")
    with (ROOT / "examples" / "wordnet.jsonl").open() as lines:
        items = [parse_item(json.loads(line), ["fact_text"]) for line in lines]
    assert len({extraction_id_of(wordnet, item) for item in items}) == len(items) == 2000


def test_the_format_page_shows_a_line_of_the_example() -> None:
    page = (ROOT / "examples" / "README.md").read_text()
    (shown,) = re.findall(r"^(\{.*\})$", page, re.MULTILINE)
    assert shown in (ROOT / "examples" / "wordnet.jsonl").read_text().splitlines()


def test_the_example_carries_its_notice() -> None:
    notice = (ROOT / "examples" / "WORDNET-LICENSE").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in notice
