"""The pages that are made from the program: nothing is missing in them. `make docs` builds the site and checks its links."""

import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from support.cli import Cli
from support.settings import KEYS, description, variable

from app.api.problems import KINDS
from app.cli.main import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def generator(name: str) -> Any:
    """A module of what makes the pages; the site's builder finds them in its own folder."""
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    return import_module(f"generate.{name}")


@pytest.fixture(scope="module")
def settings_page() -> str:
    page: str = generator("settings").settings_page(ROOT / "config.yml")
    return page


def test_every_setting_is_told_of_with_its_variable_and_what_is_allowed(settings_page: str) -> None:
    told = {
        found[1]: found[2]
        for found in re.finditer(r"^### `(.+?)`\n(.*?)(?=^##|\Z)", settings_page, re.MULTILINE | re.DOTALL)
    }
    assert list(told) == KEYS
    for key, text in told.items():
        assert f"`{variable(key)}`" in text
        assert re.sub(r"\W", "", description(key)) in re.sub(r"\W", "", text)
        assert re.search(r"^\w.+\n\n\|", text, re.MULTILINE), f"{key}: nothing says what it means"


@pytest.mark.parametrize("alias", ["DB_POOL_SIZE", "DB_MAX_OVERFLOW", "DB_POOL_TIMEOUT"])
def test_an_alias_is_told_of(settings_page: str, alias: str) -> None:
    assert settings_page.count(f"or `{alias}`") == 1


def test_no_setting_goes_without_a_meaning(tmp_path: Path) -> None:
    text = (ROOT / "config.yml").read_text().replace("  port: 8000\n", "")
    (tmp_path / "config.yml").write_text(text)
    with pytest.raises(KeyError, match=r"api\.port"):
        generator("settings").settings_page(tmp_path / "config.yml")


def test_every_command_is_told_of_with_its_arguments_and_options() -> None:
    commands = generator("commands")
    page = commands.commands_page()
    told = list(commands.walk(typer.main.get_command(app), ("agent-storage",)))
    assert len(told) > 20
    for path, command in told:
        (text,) = re.findall(rf"^###? `{path}`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        names = [name for each in command.params for name in each.opts if name.startswith("-")]
        assert [name for name in names if f"`{name}" not in text] == []
        assert [each.help for each in command.params if not each.help] == []


@pytest.fixture(scope="module")
def document() -> Any:
    return generator("openapi").openapi_document()


def test_every_operation_is_told_of_with_its_parameters_and_answers(document: Any) -> None:
    page = generator("openapi").api_page(document)
    for method, path, operation in generator("openapi").operations(document):
        heading = re.escape(f"### `{method} {path}`")
        (text,) = re.findall(rf"^{heading}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
        names = [each["name"] for each in operation.get("parameters", ())]
        kinds = list(operation.get("requestBody", {}).get("content", {}))
        assert [each for each in (*names, *kinds) if f"`{each}`" not in text] == []
        assert [status for status in operation["responses"] if not re.search(rf"\b{status}\b", text)] == []


def test_every_schema_and_every_kind_of_problem_is_told_of(document: Any) -> None:
    page = generator("openapi").api_page(document)
    headings = re.findall(r"^### (\w+)$", page, re.MULTILINE)
    assert headings == sorted(document["components"]["schemas"])
    linked = set(re.findall(r"\(#schema-(\w+)\)", page))
    assert linked <= {name.lower() for name in headings}
    assert [kind.slug for kind in KINDS.values() if f"`{kind.slug}`" not in page] == []
    assert "`not-authenticated`" in page


def test_a_link_out_of_the_documentation_leads_to_a_page_of_the_site() -> None:
    adapted = generator("repository").with_links_into_the_site
    page = DOCS / "decisions" / "turns.md"
    links = "[a](../../bench/README.md) [b](metrics-cost.md) [c](../../nothing.py) [d](https://example.org/x)"
    wanted = "[a](/reference/files/bench/README.md.md) [b](metrics-cost.md) [c](../../nothing.py) [d](https://example.org/x)"
    assert adapted(links, page, DOCS) == wanted


def test_the_diagram_of_the_container_is_a_table_on_the_site() -> None:
    page = generator("graph").with_diagrams_as_tables((DOCS / "architecture.md").read_text())
    assert "mermaid\n" not in page
    assert re.search(r"^\| database \| .*\bengine\b.* \|$", page, re.MULTILINE)
    assert re.search(r"^\| \(executor\) \| .*\bengine\b.* \|$", page, re.MULTILINE)


def test_the_quickstart_finds_what_it_says(tmp_path: Path) -> None:
    page = (DOCS / "index.md").read_text()
    (facts,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (tmp_path / "facts.jsonl").write_text(facts)
    (commands,) = re.findall(r"```bash\n(.venv/bin/agent-storage ingest.*?)```", page, re.DOTALL)
    command = Cli(tmp_path, EMBEDDING_PROVIDER="wordllama")
    ingest, first, second = (shlex.split(line)[1:] for line in commands.splitlines())
    command(*ingest)
    assert [each["data"]["page"] for each in command.json(*first)] == [4, 3]
    assert [each["data"]["page"] for each in command.json(*second)] == [3]
