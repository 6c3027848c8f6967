"""What the page on filters says, done: its commands, its JSON, its Python and its bounds."""

import json
import re
from pathlib import Path

import pytest
from support.pages import Page, reading, text_of

from app.domain import conditions
from app.domain.condition_values import FIELDS, MAX_KEYS, MAX_TEXT_CHARS
from app.domain.ordering import MOST_SORTED
from app.intake.where_json import parse_where_json
from app.intake.where_parser import OPERATORS
from app.intake.where_text import MAX_CHARS
from app.services import filter_warnings

pytestmark = pytest.mark.slow

PAGE = text_of("docs/filters.md")
PRODUCTS = [
    {"fact_text": "a teapot", "price": {"amount": 120}, "tags": ["indoor"], "country": "DE", "sku": "XR-4471"},
    {"fact_text": "a garden chair", "price": {"amount": 40}, "country": "FR", "valid_from": "2025-03-01"},
    {"fact_text": "a log line", "http.method": "GET"},
]


def shown(page: Page) -> list[str]:
    """Run each line of the next block, and return what each prints."""
    done = [page.shell(line) for line in page.take("bash").splitlines()]
    told = [each.stdout + each.stderr for each in done]
    assert [each for each in told if "Warning" in each] == []
    return told


async def test_the_page(tmp_path: Path) -> None:
    items = [{"source_uri": "a", "extraction_type": "product", "data": data} for data in PRODUCTS]
    with reading("docs/filters.md", tmp_path) as page:
        page.shell("agent-storage ingest - -p shop", stdin="\n".join(map(json.dumps, items)))
        listed, counted, _, deleted, exported = shown(page)
        assert "teapot" in listed
        assert counted.strip() == "1"
        assert "Would delete 1 extraction" in deleted
        assert len(exported.splitlines()) >= 3

        written = parse_where_json(json.loads(page.take("json")))
        assert len(list(conditions.leaves(written))) == 4
        names: dict[str, object] = {}
        await page.python(names)
        assert names["filters"]

        page.check_settings("yaml")
        page.environment["AGENT_STORAGE_CONFIG"] = "page.yml"
        [upgraded] = shown(page)
        assert "The database schema is at" in upgraded
        [facets] = shown(page)
        assert "120" in facets
        [ordered] = shown(page)
        assert ordered.index("teapot") < ordered.index("garden")
        assert "price.amount" in page.shell("agent-storage projects describe shop").stdout


def test_every_operator_and_field_is_told() -> None:
    table = PAGE.split("## Conditions")[1].split("They are joined")[0]
    told = {
        word
        for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
        for word in re.findall(r"`([^` ]+)", cell)
    }
    assert told == set(OPERATORS)
    for name in FIELDS:
        assert f"`{name}`" in PAGE


def test_every_bound_is_told() -> None:
    for bound in (
        f"{MAX_CHARS:,} characters",
        f"{conditions.MAX_TERMS:,} conditions",
        f"{conditions.MAX_DEPTH} levels",
        f"{MAX_KEYS} keys",
        f"{MAX_TEXT_CHARS:,} characters in a text",
        f"{conditions.MAX_WORDS} words",
        f"{MOST_SORTED} characters",
        f"sample of {filter_warnings.SAMPLED}",
        f"{filter_warnings._LOOKED_AT:,} facts",
    ):
        assert bound in " ".join(PAGE.split()), bound
