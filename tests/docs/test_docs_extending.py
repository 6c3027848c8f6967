"""The pages on extending, done as they say: the setting, and the contract."""

from pathlib import Path

import pytest
from support.cli import ROOT
from support.pages import reading

pytestmark = pytest.mark.slow

WIRING = "from examples.extending.embedder import container_with_trigrams as create\n"
IMPORTS = "import pytest\nfrom examples.extending.vector_client import NumpyClient as MyClient\n"


def test_the_embedders_page(tmp_path: Path) -> None:
    with reading("docs/extending/embedder.md", tmp_path) as page:
        (tmp_path / "mypackage").mkdir()
        (tmp_path / "mypackage" / "wiring.py").write_text(WIRING)
        page.environment["PYTHONPATH"] += f":{tmp_path}"
        page.check_settings("yaml")
        # The fork server has read its path already, so these start a new interpreter.
        fact = '{"source_uri": "a", "extraction_type": "fact", "data": {"text": "A new ferry"}}'
        page.shell("command agent-storage --config page.yml ingest -", stdin=fact)
        refused = page.shell("agent-storage search ferry --mode meaning", code=1)
        assert "the index was made by trigrams" in " ".join(refused.stderr.split())


def test_the_vector_stores_page(tmp_path: Path) -> None:
    with reading("docs/extending/vector-client.md", tmp_path) as page:
        (tmp_path / "test_mine.py").write_text(IMPORTS + page.take("python"))
        told = page.shell(
            f"python -m pytest -q -p no:cacheprovider -c {ROOT}/pyproject.toml test_mine.py"
        ).stdout
        assert " passed" in told


def test_the_working_rules(tmp_path: Path) -> None:
    for name in (
        "Makefile",
        "bench",
        "requirements-dev.lock",
        "requirements-docs.lock",
        "requirements-bench.lock",
    ):
        (tmp_path / name).symlink_to(ROOT / name)
    with reading("CONTRIBUTING.md", tmp_path) as page:
        page.shell('make() { command make --dry-run -o .venv/runtime.stamp "$@"; }\n' + page.take("bash"))
        assert page.take("markdown").count("../../compare/") == 2
