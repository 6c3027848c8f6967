"""Each page in docs/decisions is a complete decision record, and the tests that it names exist."""

import ast
import re
from datetime import date
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "decisions"
PAGES = [page for page in sorted(FOLDER.glob("*.md")) if page.stem != "index"]
FIELDS = ("Question", "Chosen", "Not chosen", "Measured", "Enforced by")

_ENFORCING = re.compile(r"`(?P<file>tests/[\w/]+\.py)`|`(?P<test>test_\w+)`")
_ROW = re.compile(r"^\| \[(?P<title>.+?)\]\((?P<file>[\w-]+\.md)\) \| (?P<rest>.+) \|$", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def header_of(text: str) -> dict[str, str]:
    """The title, the date and the status."""
    found = re.match(r"# (?P<title>.+)\n\n- Date: (?P<date>.+)\n- Status: (?P<status>.+)\n\n", text)
    assert found is not None, "a page begins with a title, a date and a status"
    return found.groupdict()


def enforcing(text: str) -> dict[str, list[str]]:
    """The test files that the last field names, each with the tests that are named after it."""
    found, tests = dict[str, list[str]](), list[str]()
    for named in _ENFORCING.finditer(text[text.index("**Enforced by.**") :]):
        if named["file"]:
            tests = found.setdefault(named["file"], [])
        else:
            tests.append(named["test"])
    return found


def defined_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {function.name for function in functions}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_every_field(page: Path) -> None:
    text = text_of(page)
    header = header_of(text)
    assert header["status"] in {"accepted", "superseded"}
    assert date(2026, 1, 1) < date.fromisoformat(header["date"]) <= date.today()  # noqa: DTZ011 - a day's precision
    missing = [field for field in FIELDS if not re.search(rf"^\*\*{field}\b", text, re.MULTILINE)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tests_that_enforce_it_exist(page: Path) -> None:
    named = enforcing(text_of(page))
    assert named
    for file, tests in named.items():
        assert (ROOT / file).is_file(), file
        assert set(tests) - defined_in(ROOT / file) == set(), file


def test_the_index_lists_every_page_as_its_header_says() -> None:
    listed = {
        row["file"]: (row["title"], *row["rest"].split(" | "))
        for row in _ROW.finditer(text_of(FOLDER / "index.md"))
    }
    wanted = {}
    for page in PAGES:
        header = header_of(text_of(page))
        files = ", ".join(f"`{Path(file).name}`" for file in enforcing(text_of(page)))
        wanted[page.name] = (header["title"], header["date"], header["status"], files)
    assert listed == wanted


def test_every_decision_that_the_code_names_exists() -> None:
    sources = [*(ROOT / "app").rglob("*.py"), ROOT / "containers.py"]
    named = {name for path in sources for name in re.findall(r"docs/decisions/[\w-]+\.md", text_of(path))}
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    assert {"lost-lease", "exclusive", "lanes", "fusion", "ledger-order"} <= {Path(name).stem for name in named}
