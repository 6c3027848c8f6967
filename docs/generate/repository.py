"""Pages for the repository's files that the site links to, so that the links work there."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

FILES = "reference/files"

_LINK = re.compile(r"(?<=\]\()(?P<target>[^)\s#:]+)(?=[)#])")
_ON_THE_HOST = re.compile(r"^\[[^\]\n]+\]: \.\./\.\./.*\n?", re.MULTILINE)
"""Definitions of links to pages of the repository's host, relative to a file's page there."""
_LANGUAGES = {
    ".json": "json",
    ".py": "python",
    ".service": "ini",
    ".sh": "bash",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
_SEARCHED = {"CONTRIBUTING.md", "SECURITY.md", "bench/README.md", "examples/README.md"}
"""Files that are documentation. A search of the site would rank other files above the pages."""
_SKIPPED = {"__pycache__"}


def with_links_into_the_site(text: str, page: Path, docs: Path) -> str:
    """Make links of ``page`` to files outside ``docs`` lead to the pages of these files.

    A broken link stays as it is, and so fails the build.
    """

    def replaced(found: re.Match[str]) -> str:
        target = (page.parent / found["target"]).resolve()
        if not target.exists() or not target.is_relative_to(docs.parent):
            return found["target"]
        if target.is_relative_to(docs):
            inside = target.relative_to(docs)
            return f"/{inside}" if not page.is_relative_to(docs) else found["target"]
        return f"/{FILES}/{target.relative_to(docs.parent)}.md"

    return _LINK.sub(replaced, text)


def write_linked_files(docs: Path, folder: Path) -> None:
    """Write a page for each file that the site links to, directly or through other such files."""
    waiting = [
        target for page in docs.rglob("*.md") if folder not in page.parents for target in _outside(page, docs)
    ]
    shutil.rmtree(folder, ignore_errors=True)
    done = set[Path]()
    while waiting:
        target = waiting.pop()
        if target in done:
            continue
        done.add(target)
        name = target.relative_to(docs.parent)
        page = folder / f"{name}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_page(target, name, docs), encoding="utf-8")
        if target.is_dir():
            waiting += _members(target)
        elif target.suffix == ".md":
            waiting += _outside(target, docs)


def _outside(page: Path, docs: Path) -> Iterator[Path]:
    for found in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / found["target"]).resolve()
        outside = target.is_relative_to(docs.parent) and not target.is_relative_to(docs)
        if target.exists() and outside:
            yield target


def _members(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.name not in _SKIPPED)


def _page(target: Path, name: Path, docs: Path) -> str:
    search = "" if str(name) in _SEARCHED else "nosearch: true\n"
    head = f"---\norphan: true\n{search}---\n\n"
    if target.is_dir():
        links = "".join(f"- [{each.name}](/{FILES}/{name}/{each.name}.md)\n" for each in _members(target))
        return f"{head}# {name}\n\n{links}"
    text = target.read_text(encoding="utf-8", errors="replace")
    if target.suffix == ".md":
        return head + with_links_into_the_site(_ON_THE_HOST.sub("", text), target, docs)
    language = _LANGUAGES.get(PurePosixPath(name).suffix, "text")
    return f"{head}# {name}\n\n``````{{code-block}} {language}\n{text.rstrip()}\n``````\n"
