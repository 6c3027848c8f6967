"""The quickstart, done as it says, with what it says of it."""

import re
from pathlib import Path

import pytest
from support.cli import ROOT
from support.pages import json_values, reading
from support.processes import serve_process

pytestmark = pytest.mark.slow


def test_the_page(tmp_path: Path) -> None:
    for name in ("Makefile", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    with reading("docs/index.md", tmp_path, EMBEDDING_PROVIDER="wordllama") as page:
        page.replaced["make run"] = "make -o .venv/runtime.stamp run"
        first = re.findall(r"│ (0\.\d+) │", page.run().stdout)[:3]
        assert first == re.findall(r"^\| (0\.\d+) \|", page.text, re.MULTILINE)

        page.save("json")
        told = page.run().stdout
        order = [told.index(word) for word in ("Stored 2 new", "ferry", "bridge")]
        assert order == sorted(order), "the first search ranks the ferry before the bridge"
        assert told.count("ferry") == 1, "the second finds only the bridge"
        page.run()

        assert page.take("bash") == ".venv/bin/agent-storage serve\n"
        with serve_process(tmp_path, {"EMBEDDING_PROVIDER": "wordllama"}) as service:
            page.replaced["http://127.0.0.1:8000"] = service.url
            stored, found = json_values(page.run().stdout)
        assert (stored["new"], stored["known"]) == (0, 2)
        assert "ferry" in found["items"][0]["extraction"]["data"]["fact_text"]
