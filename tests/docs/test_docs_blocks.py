"""Every block of every page is run by the page's own test, which reads it."""

import re
from pathlib import Path

import pytest
from support.cli import ROOT
from support.pages import NOT_RUN, RUN_ELSEWHERE, blocks_of, pages, reading, text_of

TESTS = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("test_*.py")))
PAGES = [name for name in pages() if blocks_of(name)]


@pytest.mark.parametrize("name", PAGES)
def test_a_test_reads_the_page(name: str) -> None:
    assert f'reading("{name}"' in TESTS


@pytest.mark.parametrize("name", PAGES)
def test_a_block_has_a_language(name: str) -> None:
    """It says how a reader takes the block, and colours it on the site."""
    assert [block.text for block in blocks_of(name) if not block.language] == []


def test_a_block_that_no_test_takes_is_noticed(tmp_path: Path) -> None:
    name = "examples/search/NOTICE.md"
    with pytest.raises(AssertionError, match="its test doesn't run"), reading(name, tmp_path):
        pass


@pytest.mark.parametrize("command", NOT_RUN)
def test_what_is_not_run_is_on_a_page(command: str) -> None:
    shown = "".join(block.text for name in PAGES for block in blocks_of(name))
    assert re.search(rf"^(\S+/)?{command} ", shown, re.MULTILINE)


@pytest.mark.parametrize("language", RUN_ELSEWHERE)
def test_a_language_that_is_run_elsewhere_is_on_a_page(language: str) -> None:
    assert any(f"```{language}" in text_of(name) for name in pages())


def test_an_included_file_is_imported_by_a_test() -> None:
    included = re.findall(
        r"^```\{literalinclude\} \S*examples/(\S+)\.py$", "".join(map(text_of, pages())), re.MULTILINE
    )
    assert len(included) == 6
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in included:
        module = name.replace("/", ".")
        assert f'"{module}"' in tests or f"examples.{module}" in tests, module
