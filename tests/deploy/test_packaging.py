"""What a new user gets: the wheel in a clean environment, the locks, the Makefile, the example."""

import json
import re
import shutil
import sys
import tomllib
from collections.abc import Sequence
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.packages import VERSION, copy_sources, pins, project, run

from app.domain.ids import project_id_of
from app.domain.items import extraction_id_of, parse_item

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock", "requirements-bench.lock", "requirements-docs.lock")
PRETEND = "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_AGENT_STORAGE"
PIN = re.compile(r"^(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?P<rest>.*(?:\n    .*)*)", re.MULTILINE)


# --- the wheel ------------------------------------------------------------------------------------


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
    assert metadata["Version"] == VERSION
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


def test_everything_that_names_the_version_agrees(clean_bin: Path, tmp_path: Path) -> None:
    command = clean_bin / "agent-storage"
    assert run(command, "--version", cwd=tmp_path).stdout == f"agent-storage {VERSION}\n"
    code = (
        "from app.api.app import create_app\n"
        "from app.config import load_settings\n"
        "from app.entrypoints.api import options_of\n"
        "from containers import create_container\n"
        "settings = load_settings()\n"
        "print(create_app(create_container(settings), options_of(settings)).openapi()['info']['version'])\n"
    )
    assert run(clean_bin / "python", "-c", code, cwd=tmp_path).stdout == f"{VERSION}\n"
    run(command, "db", "upgrade", cwd=tmp_path)
    run(command, "backup", "backups", cwd=tmp_path)
    (manifest,) = (tmp_path / "backups").glob("*.json")
    assert json.loads(manifest.read_text())["version"] == VERSION


def test_the_installed_command_stores_and_finds(clean_bin: Path, tmp_path: Path) -> None:
    with (ROOT / "examples" / "wordnet.jsonl").open() as example:
        (tmp_path / "facts.jsonl").write_text("".join(next(example) for _ in range(50)))
    command = clean_bin / "agent-storage"
    run(command, "ingest", "facts.jsonl", "--project", "clean", cwd=tmp_path)
    found = run(
        command, "search", "a human being", "--project", "clean", "--limit", "1", "--json", cwd=tmp_path
    )
    assert "person, individual" in found.stdout


# --- the version ----------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the sources, without git's data."""
    copy_sources(tmp_path / "tree")
    return tmp_path / "tree"


def git(tree: Path, *arguments: str) -> str:
    who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    return run("git", *who, *arguments, cwd=tree).stdout


def commit(tree: Path) -> None:
    git(tree, "init", "--quiet")
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message=a commit")


def version_of(tree: Path, **env: str) -> str:
    """The version of a build of the tree."""
    return run(sys.executable, "-m", "setuptools_scm", cwd=tree, env=env).stdout.strip()


def test_a_build_at_a_tag_has_its_version(tree: Path) -> None:
    commit(tree)
    git(tree, "tag", "v3.2.1")
    assert version_of(tree) == "3.2.1"


def test_a_build_after_a_tag_is_before_the_next_release(tree: Path) -> None:
    commit(tree)
    git(tree, "tag", "v3.2.1")
    git(tree, "commit", "--quiet", "--allow-empty", "--message=another")
    assert re.fullmatch(r"3\.2\.2\.dev1\+g[0-9a-f]+", version_of(tree))


def test_a_clone_without_tags_can_be_built(tree: Path, tmp_path: Path) -> None:
    commit(tree)
    git(tree, "commit", "--quiet", "--allow-empty", "--message=another")
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{tree}", "clone")
    assert re.fullmatch(r"0\.0\.1\.dev1\+unknown\.g[0-9a-f]+", version_of(tmp_path / "clone"))


def test_a_build_without_git_has_the_given_version_or_says_that_it_is_unknown(tree: Path) -> None:
    assert version_of(tree, **{PRETEND: "3.2.1"}) == "3.2.1"
    assert version_of(tree) == version_of(tree, **{PRETEND: ""}) == "0.0.0+unknown"


def test_a_build_from_an_sdist_has_the_version_of_the_sdist(tree: Path, tmp_path: Path) -> None:
    code = "from setuptools import build_meta; build_meta.build_sdist('../dist')"
    run(sys.executable, "-c", code, cwd=tree, env={PRETEND: "3.2.1"})
    run("tar", "--extract", "--file=dist/agent_storage-3.2.1.tar.gz", cwd=tmp_path)
    assert version_of(tmp_path / "agent_storage-3.2.1") == "3.2.1"


def test_no_file_has_the_version_written_out() -> None:
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in table["project"]["dynamic"]
    written = re.compile(r"agent-storage:\d|(?m:^(?:version|__version__) *= *[\"']\d)")
    places = [ROOT / name for name in ("compose.yaml", "Dockerfile", "pyproject.toml", "containers.py")]
    places += [*(ROOT / "app").rglob("*.py"), *(ROOT / "deploy").rglob("*.*"), *(ROOT / "docs").rglob("*.md")]
    assert [place for place in places if written.search(place.read_text())] == []


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
