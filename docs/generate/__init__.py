"""The pages of the site that each build generates from the program itself."""

from pathlib import Path

from generate.commands import commands_page
from generate.errors import errors_page
from generate.metrics import metrics_page
from generate.openapi import api_page, openapi_document
from generate.repository import write_linked_files
from generate.settings import settings_page

REFERENCE = "reference"


def write(docs: Path) -> None:
    """Write every generated page below ``docs/reference``, which has no other files."""
    folder = docs / REFERENCE
    folder.mkdir(exist_ok=True)
    _write(folder / "configuration.md", settings_page(docs.parent / "config.yml"))
    _write(folder / "api.md", api_page(openapi_document()))
    _write(folder / "command-line.md", commands_page())
    _write(folder / "metrics.md", metrics_page())
    _write(folder / "errors.md", errors_page())
    _write(folder / "openapi.json", openapi_document(as_text=True))
    write_linked_files(docs, folder / "files")


def _write(path: Path, text: str) -> None:
    """Write only if the text differs, so that a second build reads only what has changed."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
