"""The page on search, done as it says: its searches, its answer, and what is missing in one."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.pages import json_values, reading
from support.processes import free_port, serve_process

pytestmark = pytest.mark.slow

TEXTS = {
    "pumps": "Pump XR-4472-B moves liquids.",
    "mirror": "Pump XR-4472-B moves liquids.",
    "insurance": "Die Versicherungsbedingungen gelten ab Mai.",
    "valves": "The valve is in stock again.",
}
FACTS = [
    {"source_uri": f"https://example.org/{name}", "extraction_type": "product", "data": {"fact_text": text}}
    for name, text in TEXTS.items()
]
LAST_DIGIT = 2e-6


def test_the_page(tmp_path: Path) -> None:
    with reading("docs/finding.md", tmp_path, EMBEDDING_PROVIDER="wordllama") as page:
        page.shell("agent-storage ingest - -p mine", stdin="\n".join(map(json.dumps, FACTS)))
        both, words, meaning = [page.shell(line).stdout for line in page.take("bash").splitlines()]
        assert "XR-4472-B" in both
        assert "Versicherungsbedingungen" in words
        assert "liquids" in meaning

        with serve_process(tmp_path, {"EMBEDDING_PROVIDER": "wordllama"}) as service:
            page.replaced["http://127.0.0.1:8000"] = service.url
            [answer] = json_values(page.run().stdout)
        shown = json.loads(page.take("json"))
        assert shown["items"][0]["extraction"].pop("…") == "the rest of the fact"
        assert part_of(answer, shown) == shown

        url = f"http://127.0.0.1:{free_port()}"
        page.environment["QDRANT_URL"] = page.replaced["http://127.0.0.1:6333"] = url
        assert page.shell(both_command(page.text)).stderr == page.take("text")


def both_command(text: str) -> str:
    """Return the page's first search."""
    return next(line for line in text.splitlines() if line.startswith("agent-storage search"))


def part_of(answer: Any, shown: Any) -> Any:
    """Return the answer without the members that are not shown."""
    if isinstance(answer, dict) and isinstance(shown, dict):
        return {name: part_of(answer[name], value) for name, value in shown.items()}
    if isinstance(answer, list) and isinstance(shown, list):
        return [part_of(*pair) for pair in zip(answer, shown, strict=True)]
    if isinstance(shown, float) and answer == pytest.approx(shown, abs=LAST_DIGIT):
        return shown  # processors add float32 numbers in different orders
    return answer
