"""The page on embedders, done as it says: the comparison, another embedder, and the settings."""

from pathlib import Path

import pytest
from support.cli import EXAMPLE
from support.pages import reading
from support.static_model import save_static_model

pytestmark = pytest.mark.slow


def test_the_page(tmp_path: Path) -> None:
    with reading("docs/embedders.md", tmp_path, EMBEDDING_PROVIDER="wordllama") as page:
        (tmp_path / "pairs.jsonl").write_text(page.take("json"))
        compared = page.run().stdout
        assert compared.index("wordllama") < compared.index("multilingual")

        page.shell("head -n 5 > facts.jsonl && agent-storage ingest facts.jsonl", stdin=EXAMPLE.read_text())
        assert "Reindexed 5" in page.run().stdout

        del page.environment["EMBEDDING_PROVIDER"]
        page.replaced["/models/potion-multilingual-128M"] = str(save_static_model(tmp_path / "model"))
        page.check_settings("yaml")
        assert "Reindexed 5" in page.shell("agent-storage --config page.yml reindex").stdout
        page.check_settings("yaml")
