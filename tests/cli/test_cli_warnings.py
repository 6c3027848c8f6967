"""What handing in warns of: text that the embedder wasn't made for."""

import json
from pathlib import Path

import pytest
from support.cli import Cli

GERMAN = "Die Fähre bringt Autos über den Fluss, und die alte Brücke war im Mai gesperrt."


@pytest.mark.parametrize("flags", [(), ("--replace", "source")])
def test_text_in_another_language_is_warned_of(tmp_path: Path, flags: tuple[str, ...]) -> None:
    cli = Cli(tmp_path, EMBEDDING_PROVIDER="wordllama")
    facts = [
        {"source_uri": f"s{number}", "extraction_type": "fact", "data": {"fact_text": f"{GERMAN} {number}"}}
        for number in range(12)
    ]
    (tmp_path / "facts.jsonl").write_text("\n".join(map(json.dumps, facts)))
    done = cli("ingest", "facts.jsonl", "--project", "p", *flags, "--json")
    assert b"Warning: 100% of the text of project 'p' is in languages (de)" in done.stderr
    [warning] = json.loads(done.stdout)["warnings"]
    assert "wasn't made for" in warning
