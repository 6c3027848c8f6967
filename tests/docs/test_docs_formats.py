"""The page on formats, done as it says: its line, and its spreadsheet with what it says of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.cli import EXAMPLE
from support.pages import Page, reading

pytestmark = pytest.mark.slow


def found(page: Page, search: str) -> list[dict[str, Any]]:
    """Return the data of what a search finds."""
    answer = json.loads(page.shell(f"{search} --json").stdout)
    return [hit["extraction"]["data"] for hit in answer["items"]]


def test_the_spreadsheet(tmp_path: Path) -> None:
    with reading("examples/README.md", tmp_path) as page:
        assert page.take("json") in EXAMPLE.read_text(encoding="utf-8")
        sheet = page.save("text")
        told = page.run(code=1).stderr
        assert "'no', 'url', 'product', 'price', 'sku', 'remark' aren't fields of an extraction" in told

        mapped, search = page.take("bash").splitlines()
        done = page.shell(mapped)
        assert "Stored 3 new extractions" in done.stdout
        assert {data["sku"]: data for data in found(page, "agent-storage search kettle --project shop")} == {
            "0071": {"fact_text": "Kettle, red", "price": 36, "sku": "0071"},
            "0072": {"fact_text": "Kettle, blue", "price": 36.5, "sku": "0072", "remark": "only\nin May"},
            "1005": {"fact_text": "Toaster", "price": 20, "sku": "1005"},
        }
        assert [data["sku"] for data in found(page, search)] == ["0071"]
        assert "0 added, 0 changed, 3 unchanged, 0 removed" in page.run().stdout

        (tmp_path / "prices.csv").write_text(sheet.replace(";1005;", ";1005"))
        [expected] = re.findall(r"`(row 4: .*?)`", page.text)
        refused = page.shell(mapped, code=1)
        assert expected in refused.stdout + refused.stderr


def test_the_facts_without_prose(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLE.parent)
    with reading("examples/search/NOTICE.md", tmp_path) as page:
        assert "Stored 48 new extractions" in page.run().stdout
