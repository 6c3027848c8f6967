"""The spreadsheet of the page on formats, ingested as it says, with what it says of it."""

import re
import shlex
from pathlib import Path

import pytest
from support.cli import Cli

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "examples" / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def test_the_spreadsheet(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    [sheet] = blocks("text")
    (tmp_path / "prices.csv").write_text(sheet)
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    bare, mapped, search, replaced = [shlex.split(line)[1:] for line in lines]
    told = cli(*bare, code=1).stderr.decode()
    assert "'no', 'url', 'product', 'price', 'sku', 'remark' are no fields of an extraction" in told
    done = cli(*mapped)
    assert b"Stored 3 new extractions" in done.stdout
    assert done.stderr == b""
    found = {hit["data"]["sku"]: hit["data"] for hit in cli.json("search", "kettle", "--project", "shop")}
    assert found == {
        "0071": {"fact_text": "Kettle, red", "price": 36, "sku": "0071"},
        "0072": {"fact_text": "Kettle, blue", "price": 36.5, "sku": "0072", "remark": "only\nin May"},
        "1005": {"fact_text": "Toaster", "price": 20, "sku": "1005"},
    }
    assert [hit["data"]["sku"] for hit in cli.json(*search)] == ["0071"]
    assert "0 added, 0 changed, 3 unchanged, 0 removed" in cli(*replaced).stdout.decode()
    (tmp_path / "prices.csv").write_text(sheet.replace(";1005;", ";1005"))
    expected = re.search(r"`(row 4: .*?)`", PAGE)
    assert expected is not None
    assert expected[1] in cli(*mapped, code=1).stdout.decode() + cli(*mapped, code=1).stderr.decode()
