"""The page on exports, done as it says: its commands, and its move to PostgreSQL."""

import json
import re
import shutil
from pathlib import Path

import pytest
from support.pages import Page, reading, text_of
from support.processes import serve_process

from app.domain.items import OF_AN_ANSWER

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("jq") is None, reason="the page's commands use jq"),
]

NAME = "docs/exporting.md"
URL = "postgresql://storage@db.example/storage"
FACTS = [
    {
        "source_uri": f"https://shop.example/{number // 2}",
        "source_group": "shop",
        "extraction_type": "offer",
        "confidence": 0.5 + number / 40,
        "data": {"fact_text": f"The kettle number {number} costs {number}.99 euro."},
        **({"metadata": {"page": number}} if number % 2 else {}),
    }
    for number in range(20)
]


def test_the_page(tmp_path: Path, postgres_url: str) -> None:
    with reading("docs/exporting.md", tmp_path) as page:
        lines = "".join(json.dumps(fact) + "\n" for fact in FACTS)
        page.shell("agent-storage ingest - -p shop", stdin=lines)
        export = page.take("bash")
        assert page.shell(export).stdout.count("euro.") == 8
        for name in re.findall(r"-o (\S+)", export):
            assert (tmp_path / name).is_file()
        page.run()

        whole = (tmp_path / "shop.jsonl").read_text()
        page.replaced["CURSOR"] = break_off(page)
        page.run()
        assert (tmp_path / "shop.jsonl").read_text() == whole

        page.replaced[URL] = postgres_url
        page.save("yaml")
        page.run()
        page.run()
        page.environment["AGENT_STORAGE_CONFIG"] = "new.yml"
        moved = page.shell("agent-storage export -p shop").stdout.splitlines()
        projects = json.loads(page.shell("agent-storage projects list --json").stdout)["items"]
    assert sorted(json.dumps(json.loads(line)) for line in moved) == sorted(
        map(json.dumps, map(as_written, FACTS))
    )
    assert {project["name"] for project in projects} == {"shop", "kettles"}


def break_off(page: Page) -> str:
    """Leave the part of an export as an interruption would, and return the cursor after it."""
    with serve_process(page.folder, {}) as service:
        url = f"{service.url}/v1/projects/shop/export?limit=7"
        headers = page.shell(f"curl -sS -D - -o shop.jsonl.part '{url}'").stdout
    [cursor] = re.findall(r"(?i)^x-next-cursor: (\S+)", headers, re.MULTILINE)
    return str(cursor)


def as_written(fact: dict[str, object]) -> dict[str, object]:
    """Return the members in the order of an export."""
    names = ("source_uri", "source_group", "extraction_type", "confidence", "metadata", "data")
    return {name: fact[name] for name in names if name in fact}


def test_the_page_names_what_an_answer_adds() -> None:
    [named] = re.findall(r"members that only answers have \((.*?)\)", " ".join(text_of(NAME).split()))
    assert set(re.findall(r"`(\w+)`", named)) == OF_AN_ANSWER
