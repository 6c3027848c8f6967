"""What the page on filters says, done: its commands, its JSON, its Python and its bounds."""

import json
import re
import shlex
from pathlib import Path

import pytest
from support.cli import Cli

from app.domain import conditions
from app.domain.condition_values import FIELDS, MAX_KEYS, MAX_TEXT_CHARS
from app.domain.ordering import MOST_SORTED
from app.intake.where_json import parse_where_json
from app.intake.where_parser import OPERATORS
from app.intake.where_text import MAX_CHARS
from app.services import fields

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
PRODUCTS = [
    {"fact_text": "a teapot", "price": {"amount": 120}, "tags": ["indoor"], "country": "DE", "sku": "XR-4471"},
    {"fact_text": "a garden chair", "price": {"amount": 40}, "country": "FR", "valid_from": "2025-03-01"},
    {"fact_text": "a log line", "http.method": "GET"},
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def shop(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path)
    items = [{"source_uri": "a", "extraction_type": "product", "data": data} for data in PRODUCTS]
    cli("ingest", "-", "-p", "shop", stdin=b"\n".join(json.dumps(item).encode() for item in items))
    return cli


def test_every_command_works(shop: Cli) -> None:
    assert len(commands()) == 8
    said = [(done := shop(*command)).stdout.decode() + done.stderr.decode() for command in commands()]
    for command, told in zip(commands(), said, strict=True):
        assert "Warning" not in told, command
    assert "teapot" in said[0]
    assert said[1].strip() == "1"
    assert "Would delete 1 extraction" in said[3]
    assert "The database schema is at" in said[5]
    assert len(said[4].splitlines()) >= 3
    assert "120" in said[6]
    assert said[7].index("teapot") < said[7].index("garden")
    assert "price.amount" in shop("projects", "describe", "shop").stdout.decode()


def test_the_json_and_the_python_are_conditions() -> None:
    [written] = blocks("json")
    assert len(list(conditions.leaves(parse_where_json(json.loads(written))))) == 4
    [code] = blocks("python")
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - it is the page's own
    assert names["filters"]


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
        f"sample of {fields._SAMPLED}",
        f"{fields._LOOKED_AT:,} facts",
    ):
        assert bound in " ".join(PAGE.split()), bound
