"""The distribution: its sources, its declared and locked packages, and a clean environment."""

import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

VERSION = "7.8.9"
"""The version of the wheel that tests build."""


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


def build_only() -> set[str]:
    """The packages that only a build needs."""
    return {Requirement(text).name for text in project()["build"]} | {"vcs-versioning"}


def copy_sources(tree: Path) -> None:
    """Copy what a wheel is built from."""
    shutil.copytree(ROOT / "app", tree / "app", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("containers.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)


def build_wheel(tree: Path) -> Path:
    """Build the wheel of version ``VERSION`` from a copy of the sources in ``tree``."""
    copy_sources(tree)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    version = {"SETUPTOOLS_SCM_PRETEND_VERSION_FOR_AGENT_STORAGE": VERSION}
    run(*build, "--wheel-dir", tree / "dist", tree, cwd=tree, env=version)
    (built,) = (tree / "dist").glob("*.whl")
    return built


def make_environment(home: Path, wheel: Path) -> None:
    """Make an environment with only the wheel and the packages of ``requirements.lock``.

    The locked packages aren't downloaded again: each is linked from the environment that runs the
    tests.
    """
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=home)
    (site,) = home.glob("lib/python*/site-packages")
    for pin in pins("requirements.lock"):
        if pin.name not in build_only() and (pin.marker is None or pin.marker.evaluate()):
            _link(pin.name, site)


def _link(name: str, site: Path) -> None:
    installed = distribution(name)
    for top in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
        if not (site / top).exists():
            (site / top).symlink_to(str(installed.locate_file(top)))
