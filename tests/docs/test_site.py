"""The generated pages are complete. `make docs` builds the site and checks its links."""

import re
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client.parser import text_string_to_metric_families
from support.every_error import one_of_each
from support.exposition import busy_exposition
from support.settings import KEYS, description, variable

from app import errors
from app.api.problems import KINDS
from app.cli.main import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def generator(name: str) -> Any:
    """Import a module of `docs/generate`; the site's builder finds them in its own folder."""
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


# --- errors ---------------------------------------------------------------------------------------


def errors_of_the_tree() -> set[type[errors.AgentStorageError]]:
    return {type(error) for error in one_of_each() if type(error).__module__ == errors.__name__}


def test_every_error_is_explained_with_its_status_and_what_to_do() -> None:
    generated = generator("errors")
    page = generated.errors_page()
    assert set(generated.WHAT_TO_DO) == errors_of_the_tree()
    for kind in errors_of_the_tree():
        pattern = rf"^### {kind.__name__}\n(.*?)(?=^##|\Z)"
        (text,) = re.findall(pattern, page, re.MULTILINE | re.DOTALL)
        problem = next(KINDS[each] for each in kind.__mro__ if each in KINDS)
        assert f"| {problem.status} | `{problem.slug}` | 1 |" in text
        assert re.search(r"^\*\*What to do:\*\* \w", text, re.MULTILINE), kind


def test_every_request_that_is_rejected_early_is_explained() -> None:
    generated = generator("errors")
    slugs = set(generated.early_problems())
    assert {"not-authenticated", "url-too-long", "starting"} <= slugs
    assert set(generated.WHAT_TO_DO_OVER_HTTP) == slugs


def test_an_error_without_advice_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    generated = generator("errors")
    advice = {kind: text for kind, text in generated.WHAT_TO_DO.items() if kind is not errors.NotFound}
    monkeypatch.setattr(generated, "WHAT_TO_DO", advice)
    with pytest.raises(KeyError, match="NotFound"):
        generated.errors_page()


def test_what_to_do_names_only_commands_and_settings_that_exist() -> None:
    generated = generator("errors")
    program = typer.main.get_command(app)
    commands = {path for path, _ in generator("commands").walk(program, ("agent-storage",))}
    named = [
        word
        for text in (*generated.WHAT_TO_DO.values(), *generated.WHAT_TO_DO_OVER_HTTP.values())
        for word in re.findall(r"`([^`]+)`", text)
    ]
    lines = [re.sub(r" (?:[A-Z-].*)$", "", word) for word in named if word.startswith("agent-storage ")]
    assert lines
    assert [line for line in lines if line not in commands] == []
    sections = {key.partition(".")[0] for key in KEYS}
    keys = [word for word in named if re.fullmatch(r"[a-z]+\.[a-z_]+", word) and word.split(".")[0] in sections]
    assert keys
    assert [key for key in keys if key not in KEYS] == []


# --- metrics --------------------------------------------------------------------------------------


def test_every_metric_of_a_busy_store_is_explained_with_its_labels(tmp_path: Path) -> None:
    page = generator("metrics").metrics_page()
    families = text_string_to_metric_families(busy_exposition(tmp_path))
    exported = {
        f"{family.name}_total" if family.type == "counter" else family.name: {
            label for sample in family.samples for label in sample.labels
        }
        for family in families
        if family.name.startswith("agent_storage_")
    }
    assert len(exported) > 20
    explained = dict(re.findall(r"^\| `(agent_storage_\w+)` \| \w+ \| (.*?) \|", page, re.MULTILINE))
    assert set(explained) == set(exported)
    for name, labels in exported.items():
        assert set(re.findall(r"`(\w+)`", explained[name])) == labels - {"le", "quantile"}, name


# --- the map for language models ------------------------------------------------------------------


def test_llms_txt_lists_every_page_of_the_index_with_its_title_and_first_sentence(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(DOCS, docs, ignore=shutil.ignore_patterns("reference", "generate", "_static"))
    (docs / "reference").mkdir()
    for name in re.findall(r"^reference/(\w.*)$", (docs / "index.md").read_text(), re.MULTILINE):
        (docs / "reference" / f"{name}.md").write_text(
            f"# The {name}\n\nEvery [one](x.md) of it, e-g `a. b`. More.\n"
        )
    text = generator("llms").llms_text(docs, "agent-storage")
    assert text.startswith("# agent-storage\n\n> agent-storage ")
    pages = {str(path.relative_to(docs).with_suffix(".html")) for path in docs.rglob("*.md")}
    lines = re.findall(r"^- \[(.+?)\]\((.+?)\): (.+)$", text, re.MULTILINE)
    assert {link for _, link, _ in lines} == pages
    assert ("The errors", "reference/errors.html", "Every one of it, e-g `a. b`.") in lines
    assert [line for line in lines if not re.search(r"\w.*[.?!]$", line[2]) or len(line[2]) < 20] == []
    captions = re.findall(r"^caption: (.+)$", (DOCS / "index.md").read_text(), re.MULTILINE)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == captions


def test_a_page_that_does_not_say_what_it_is_about_fails_the_build() -> None:
    with pytest.raises(ValueError, match="empty has no sentence"):
        generator("llms").first_sentence("# Title\n\n| a | b |\n| -- | -- |\n", "empty")


# --- the site -------------------------------------------------------------------------------------


def test_no_page_takes_the_place_of_one_that_sphinx_makes() -> None:
    """Sphinx writes the page that searches the site last, over a page of that name."""
    assert {path.stem for path in DOCS.glob("*.md")} & {"search", "genindex"} == set()


def test_a_link_out_of_the_documentation_leads_to_a_page_of_the_site() -> None:
    adapted = generator("repository").with_links_into_the_site
    page = DOCS / "decisions" / "turns.md"
    links = "[a](../../bench/README.md) [b](metrics-cost.md) [c](../../nothing.py) [d](https://example.org/x)"
    wanted = "[a](/reference/files/bench/README.md.md) [b](metrics-cost.md) [c](../../nothing.py) [d](https://example.org/x)"
    assert adapted(links, page, DOCS) == wanted


def test_a_page_of_a_file_has_no_links_to_the_repositorys_host(tmp_path: Path) -> None:
    """They are relative to the file's page there, and lead nowhere on the site."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# A title\n\n[changes](../CHANGELOG.md#changes)\n")
    links = "[1.0.0]: ../../compare/v0.9.0...v1.0.0\n[svcs]: https://example.org/svcs\n"
    (tmp_path / "CHANGELOG.md").write_text(f"# Changes\n\n## [1.0.0]\n\n{links}")
    generator("repository").write_linked_files(tmp_path / "docs", tmp_path / "docs" / "files")
    page = (tmp_path / "docs" / "files" / "CHANGELOG.md.md").read_text()
    assert "compare/" not in page
    assert page.endswith("## [1.0.0]\n\n[svcs]: https://example.org/svcs\n")


def test_a_search_of_the_site_finds_documentation_and_no_other_files(tmp_path: Path) -> None:
    generator("repository").write_linked_files(DOCS, tmp_path)
    pages = [
        page for page in tmp_path.rglob("*.md") if "nosearch: true" not in page.read_text().split("---")[1]
    ]
    assert {str(page.relative_to(tmp_path)) for page in pages} == {
        "CONTRIBUTING.md.md",
        "SECURITY.md.md",
        "bench/README.md.md",
        "examples/README.md.md",
    }


def test_the_diagram_of_the_container_is_a_table_on_the_site() -> None:
    page = generator("graph").with_diagrams_as_tables((DOCS / "architecture.md").read_text())
    assert "mermaid\n" not in page
    assert re.search(r"^\| database \| .*\bengine\b.* \|$", page, re.MULTILINE)
    assert re.search(r"^\| \(executor\) \| .*\bengine\b.* \|$", page, re.MULTILINE)
