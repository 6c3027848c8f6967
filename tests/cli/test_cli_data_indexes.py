"""Indexes on data from the command line: ``db upgrade`` creates and drops them by the settings."""

import json
from pathlib import Path

import pytest
from support.cli import Cli

pytestmark = pytest.mark.slow


def lines(count: int) -> bytes:
    items = (
        {
            "source_uri": f"doc:{number}",
            "extraction_type": "offer",
            "data": {"text": f"offer number {number}", "sku": f"XR-{number}", "price": {"amount": number}},
        }
        for number in range(count)
    )
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def test_indexes_are_made_used_and_dropped(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli("ingest", "-", stdin=lines(40))
    indexed = Cli(tmp_path, DATABASE_DATA_INDEXES="price.amount, sku, metadata.page")
    said = indexed("db", "upgrade").stdout.decode()
    for path in ("price.amount", "sku", "metadata.page"):
        assert f"The index on {path} is made." in said
    assert indexed("extractions", "count", "--where", "price.amount >= 30").stdout.strip() == b"10"
    assert indexed("extractions", "count", "--where", 'sku in ("XR-1", "XR-99")').stdout.strip() == b"1"
    kept = {"made": [], "dropped": [], "kept": ["price.amount", "sku", "metadata.page"]}
    assert indexed.json("db", "upgrade")["data_indexes"] == kept
    assert "The index on price.amount is dropped." in cli("db", "upgrade").stdout.decode()
    assert cli("extractions", "count", "--where", "price.amount >= 30").stdout.strip() == b"10"


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ("price.amount, type", "type is a field of the fact itself, not of its data; write data.type"),
        ("price..amount", "at character 7"),
    ],
)
def test_a_path_that_is_none_is_told(tmp_path: Path, paths: str, reason: str) -> None:
    cli = Cli(tmp_path, DATABASE_DATA_INDEXES=paths)
    checked = cli("config", "check", code=1)
    assert reason in checked.stdout.decode() + checked.stderr.decode()
    [problem] = cli.json("config", "check", code=1)["problems"]
    assert problem["key"] == "database.data_indexes"
    assert reason in cli("db", "upgrade", code=1).stderr.decode()
