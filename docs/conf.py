"""Sphinx's configuration, for `make docs`. The site loads nothing from another host."""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

import generate  # noqa: E402 - found by the line above
from generate import llms  # noqa: E402 - likewise
from generate.graph import with_diagrams_as_tables  # noqa: E402 - likewise
from generate.repository import with_links_into_the_site  # noqa: E402 - likewise

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

project = "agent-storage"
author = "the agent-storage authors"
version = release = version_of("agent-storage")

extensions = ["myst_parser"]
exclude_patterns = ["generate"]
nitpicky = True
highlight_language = "text"
smartquotes = False

myst_heading_anchors = 3

html_theme = "furo"
html_title = f"agent-storage {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False


def setup(app: "Sphinx") -> None:
    """Write the generated pages before the build; after it, add ``llms.txt`` and check the site."""
    app.connect("config-inited", _generate)
    app.connect("source-read", _adapt)
    app.connect("build-finished", _write_llms_text)
    app.connect("build-finished", _refuse_other_hosts)


def _generate(_app: "Sphinx", _config: "Config") -> None:
    generate.write(DOCS)


def _adapt(_app: "Sphinx", name: str, source: list[str]) -> None:
    """Adapt diagrams and links to files, which a repository's viewer shows differently."""
    source[0] = with_links_into_the_site(with_diagrams_as_tables(source[0]), DOCS / f"{name}.md", DOCS)


def _write_llms_text(app: "Sphinx", error: Exception | None) -> None:
    if error is None:
        (Path(app.outdir) / llms.NAME).write_text(llms.llms_text(DOCS, project), encoding="utf-8")


def _refuse_other_hosts(app: "Sphinx", error: Exception | None) -> None:
    """Fail if a page loads anything from another host.

    Such a page needs a network, and tells that host who reads it.
    """
    loading = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*(?:src|href)=.(?:https?:)?//")
    pages = Path(app.outdir).rglob("*.html") if error is None else ()
    if found := [str(page) for page in pages if loading.search(page.read_text(encoding="utf-8"))]:
        raise ValueError(f"these pages load something from another host: {', '.join(found)}")
