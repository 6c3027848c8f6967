"""``llms.txt`` (https://llmstxt.org), from the pages' titles and first sentences."""

import re
from collections.abc import Iterator
from pathlib import Path

NAME = "llms.txt"

_TOCTREE = re.compile(
    r"^```\{toctree\}\n---\n(?P<options>.*?)^---\n(?P<entries>.*?)^```", re.MULTILINE | re.DOTALL
)
_CAPTION = re.compile(r"^caption: (.+)$", re.MULTILINE)
_ITSELF = re.compile(r"(?P<title>.+) <self>")
_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_SENTENCE = re.compile(r"((?:`[^`]*`|[^`])+?(?:[.?!]|:$))(?=\s|$)")
_LABEL = re.compile(r"\*\*[^*]+\.\*\* ")
_NO_PROSE = ("#", "|", "`", "!", "(", "- ", ">", "{", "<")


def llms_text(docs: Path, project: str) -> str:
    """Return the project's summary, then each section of the index with its pages.

    ``docs`` is the folder of the sources, with the generated pages.

    Raises:
        ValueError: a page has no title, or no sentence.
    """
    blocks = [f"# {project}", f"> {_summary(docs / 'index.md')}"]
    for caption, pages in sections(docs):
        blocks.append(f"## {caption}\n\n" + "\n".join(_line(docs, name) for name in pages))
    return "\n\n".join(blocks) + "\n"


def sections(docs: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield each caption of the index with its pages, and the pages that these list in turn."""
    for options, entries in _toctrees(docs / "index.md"):
        if caption := _CAPTION.search(options):
            yield caption[1], [name for entry in entries for name in _with_members(docs, entry)]


def first_sentence(text: str, name: str) -> str:
    """Return the first sentence of a page's prose, without links and a bold label before it.

    A colon at the paragraph's end becomes a full stop.
    """
    for block in re.split(r"\n\s*\n", text):
        if not block.startswith(_NO_PROSE) or (block.startswith("`") and not block.startswith("```")):
            words = _LABEL.sub("", " ".join(_LINK.sub(r"\1", block).split()))
            found = _SENTENCE.match(words)
            if found and not words.startswith("---"):
                return re.sub(r":$", ".", found[1])
    raise ValueError(f"{name} has no sentence that says what it is about")


def _line(docs: Path, name: str) -> str:
    text = (docs / f"{name}.md").read_text(encoding="utf-8")
    title = _TITLE.search(text)
    if title is None:
        raise ValueError(f"{name} has no title")
    return f"- [{title[1]}]({name}.html): {first_sentence(text, name)}"


def _summary(index: Path) -> str:
    """Return the first paragraph of the index."""
    blocks = re.split(r"\n\s*\n", index.read_text(encoding="utf-8"))
    return " ".join(blocks[1].split()).replace("*", "")


def _with_members(docs: Path, entry: str) -> Iterator[str]:
    if _ITSELF.fullmatch(entry):
        yield "index"
        return
    yield entry
    folder = (docs / entry).parent
    for _, entries in _toctrees(docs / f"{entry}.md"):
        for member in entries:
            for path in sorted(folder.glob(f"{member}.md")):
                if path.stem != Path(entry).name:
                    yield str(path.relative_to(docs).with_suffix(""))


def _toctrees(page: Path) -> Iterator[tuple[str, list[str]]]:
    for found in _TOCTREE.finditer(page.read_text(encoding="utf-8")):
        yield found["options"], found["entries"].split("\n")[:-1]
