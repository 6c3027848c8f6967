"""Continuous integration and releases: the workflows, the changelog, and a release's check."""

import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.packages import run
from support.released import fixture

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def workflow(name: str) -> dict[Any, Any]:
    document: dict[Any, Any] = yaml.safe_load(WORKFLOWS[name].read_text())
    return document


def jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{name} {job}", body) for name in WORKFLOWS for job, body in workflow(name)["jobs"].items()]


# --- the workflows --------------------------------------------------------------------------------


def test_the_workflow_audits_what_is_installed_every_week() -> None:
    ci = workflow("ci")
    assert ci[True]["schedule"]  # YAML takes the word `on` for that
    [audit] = [step["run"] for step in ci["jobs"]["audit"]["steps"] if "pip-audit --" in step.get("run", "")]
    # Without --strict what it can't look up would pass.
    for wanted in ("--strict", "--require-hashes", "--disable-pip", "requirements.lock"):
        assert wanted in audit
    assert re.search(r"pip-audit==\d+\.\d+\.\d+", WORKFLOWS["ci"].read_text())


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned(name: str) -> None:
    used = re.findall(r"uses: (\S+)", WORKFLOWS[name].read_text())
    assert used
    pinned = re.compile(r"[\w./-]+@[0-9a-f]{40}|\./\.github/workflows/\w+\.yml")
    assert [action for action in used if not pinned.fullmatch(action)] == []


def test_the_workflows_pin_an_action_to_one_commit() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS.values())
    pins = set(re.findall(r"uses: (\S+)@(\S+ # v\S+)", text))
    assert len(pins) == len({action for action, _ in pins})


def test_every_job_has_a_time_limit() -> None:
    assert [name for name, job in jobs() if "uses" not in job and "timeout-minutes" not in job] == []


def test_a_workflow_may_only_read_and_a_job_may_do_what_it_is_for() -> None:
    assert [name for name in WORKFLOWS if workflow(name)["permissions"] != {"contents": "read"}] == []
    assert {name: job["permissions"] for name, job in jobs() if "permissions" in job} == {
        "release attest": {"attestations": "write", "id-token": "write"},
        "release publish": {"id-token": "write"},
        "release announce": {"contents": "write"},
    }


def test_a_job_that_may_do_more_than_read_runs_no_code_of_the_repository() -> None:
    for name, job in jobs():
        if "permissions" in job:
            steps = str(job["steps"])
            assert "checkout" not in steps, name
            assert ".ci/" not in steps, name


def test_the_stages_follow_each_other() -> None:
    ci, release = workflow("ci")["jobs"], workflow("release")["jobs"]
    assert (ci["fast"]["needs"], ci["slow"]["needs"]) == ("check", "fast")
    assert "needs" not in ci["docs"]
    assert release["test"] == {"uses": "./.github/workflows/ci.yml"}
    assert "workflow_call" in workflow("ci")[True]
    needs = [release[name]["needs"] for name in ("attest", "publish", "announce")]
    assert needs == [["test", "build"], "attest", "publish"]
    assert workflow("release")[True] == {"push": {"tags": ["v*"]}}


def test_all_tests_run_on_every_python() -> None:
    ci = workflow("ci")["jobs"]
    pythons = ci["fast"]["strategy"]["matrix"]["python"]
    slow = {each["python"]: each["command"] for each in ci["slow"]["strategy"]["matrix"]["include"]}
    assert list(slow) == pythons == ci["check"]["strategy"]["matrix"]["python"]
    assert set(slow.values()) == {'make test ARGS="-m slow"', "make coverage"}


def test_the_scripts_that_are_run_are_there() -> None:
    steps = [step.get("run", "") for _, job in jobs() for step in job.get("steps", ())]
    named = {shlex.split(line)[0] for step in steps for line in step.splitlines() if line.startswith(".ci/")}
    assert named == {".ci/check-wheel", ".ci/check-release", ".ci/check-image", ".ci/sbom"}
    assert [name for name in named if not os.access(ROOT / name, os.X_OK)] == []


# --- the changelog --------------------------------------------------------------------------------


def test_every_section_of_the_changelog_has_its_link_and_the_newest_is_first() -> None:
    sections = re.findall(r"(?m)^## \[(.+?)\](.*)$", CHANGELOG)
    links = re.findall(r"(?m)^\[(.+?)\]: \.\./\.\./(?:commits|compare|releases)/", CHANGELOG)
    assert sections[0] == ("Unreleased", "")
    assert sorted(links) == sorted(name.lower() for name, _ in sections)
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in sections[1:])
    versions = [tuple(map(int, name.split("."))) for name, _ in sections[1:]]
    assert versions == sorted(versions, reverse=True)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"(?m)^### (.+)$", CHANGELOG)) <= kinds


# --- a release ------------------------------------------------------------------------------------

NOTES = "### Added\n\n- Everything.\n"
RELEASED = f"""\
# Changelog

## [Unreleased]

## [98.7.6] - 2040-01-02

{NOTES}
## [98.7.5] - 2039-01-02

- Nothing.

[98.7.6]: ../../compare/v98.7.5...v98.7.6
[unreleased]: ../../compare/v98.7.6...main
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As much of a clone at a release as its check reads."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "check-release", tmp_path / ".ci")
    (tmp_path / "CHANGELOG.md").write_text(RELEASED)
    for dialect in ("sqlite", "postgresql"):
        file = tmp_path / fixture("98.7.6", dialect).relative_to(ROOT)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (tmp_path / "dist").mkdir()
    for name in ("agent_storage-98.7.6.tar.gz", "agent_storage-98.7.6-py3-none-any.whl"):
        (tmp_path / "dist" / name).touch()
    return tmp_path


def test_a_complete_release_passes_and_its_notes_are_printed(tree: Path) -> None:
    done = run(tree / ".ci" / "check-release", "v98.7.6", "dist", cwd=tree)
    assert done.stdout.strip() == NOTES.strip()
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("CHANGELOG.md", " - 2040-01-02", "", 'no section "## [98.7.6] - YYYY-MM-DD"'),
        ("CHANGELOG.md", "[98.7.6]: ", "[98.7.4]: ", "no link [98.7.6]"),
        ("CHANGELOG.md", "v98.7.6...main", "v98.7.5...main", "doesn't compare with v98.7.6"),
        ("tests/sql/released/98.7.6.sqlite.sql", None, None, "make released VERSION=98.7.6"),
        ("dist/agent_storage-98.7.6.tar.gz", None, None, "dist has no agent_storage-98.7.6.tar.gz"),
        ("dist/agent_storage-98.7.6-py3-none-any.whl", None, None, "dist has no agent_storage-98.7.6-py3"),
    ],
)
def test_what_a_release_lacks_is_named(
    tree: Path, file: str, old: str | None, new: str | None, complaint: str
) -> None:
    if old is None or new is None:
        (tree / file).unlink()
    else:
        (tree / file).write_text(RELEASED.replace(old, new))
    refused = run(tree / ".ci" / "check-release", "v98.7.6", "dist", cwd=tree, expect=1)
    assert complaint in refused.stderr
    assert refused.stdout == ""


@pytest.mark.parametrize("tag", ["98.7.6", "v98.7", "v98.7.6rc1"])
def test_a_tag_of_another_form_is_refused(tree: Path, tag: str) -> None:
    refused = run(tree / ".ci" / "check-release", tag, cwd=tree, expect=1)
    assert "a tag has the form v1.2.3" in refused.stderr
