"""What the README shows, done as it says: its commands, its Python and its curl."""

import re
from pathlib import Path

import pytest
from support.cli import ROOT
from support.pages import json_values, reading
from support.processes import serve_process

pytestmark = pytest.mark.slow

SET_UP = "-o .venv/runtime.stamp -o .venv/dev.stamp"
"""Options of make that take the environment as it is."""


def test_the_page(tmp_path: Path) -> None:
    for name in ("Makefile", "examples", "app", "containers.py", "config.yml"):
        (tmp_path / name).symlink_to(ROOT / name)
    with (
        serve_process(tmp_path, {"DATABASE_URL": "sqlite:///service.db", "QDRANT_PATH": "service"}) as service,
        reading("README.md", tmp_path, EMBEDDING_PROVIDER="wordllama") as page,
    ):
        page.replaced |= {
            "make run": f"make {SET_UP} run",
            "make test": f"make {SET_UP} --dry-run test",
            "http://127.0.0.1:8000": service.url,
        }
        [question] = re.findall(r'finds for (".*?")', page.text)
        made = page.run().stdout
        assert made.index(f"search {question}") < made.index(page.take("text"))
        assert "-m pytest" in made

        (tmp_path / "readme.py").write_text(page.take("python"))
        assert page.shell(".venv/bin/python readme.py").stdout == page.take("text")

        stored, replaced, found, changes, jobs = json_values(page.run().stdout)
    assert (stored["new"], stored["waited"]["open_jobs"]) == (1, [])
    assert (replaced["added"], replaced["removed"]) == (1, 1)
    assert [hit["extraction"]["data"]["price"] for hit in found["items"]] == [36]
    assert [change["kind"] for change in changes["items"]] == ["added", "removed", "added"]
    assert {job["status"] for job in jobs["items"]} == {"completed"}
