"""``agent-storage embedders``."""

import json
from pathlib import Path

import pytest
from support.cli import Cli
from support.static_model import save_static_model

pytestmark = pytest.mark.slow

PAIRS = [
    {"query": "which animal sleeps", "text": "The cat sleeps on the sofa."},
    {"query": "when does the train leave", "text": "Trains to Bergen leave at noon."},
    {"query": "who repaired the bridge", "text": "Engineers repaired the old bridge in May."},
]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    return Cli(tmp_path, EMBEDDING_PROVIDER="wordllama")


def test_the_embedders_that_can_be_used_are_compared(cli: Cli) -> None:
    done = cli("embedders", "compare", "pairs.jsonl", "--json")
    found = {str(each["embedder"]): each for each in json.loads(done.stdout)["items"]}
    assert list(found) == ["wordllama", "multilingual"]
    for each in found.values():
        assert each["hit@1"] == 1.0
        assert each["hit@10"] == 1.0
        assert (each["queries"], each["texts"], each["cut"], each["refused"]) == (3, 3, 0, 0)
        assert isinstance(each["texts_per_s"], float)
    assert [each["dimension"] for each in found.values()] == [256, 384]
    assert done.stderr == b""
    assert [path.name for path in cli.folder.iterdir()] == ["pairs.jsonl"], "nothing is stored"


def test_named_ones_are_compared_as_a_table(cli: Cli) -> None:
    save_static_model(cli.folder / "small")
    done = cli(
        "embedders", "compare", "pairs.jsonl", "--embedder", "model2vec:small", "--embedder", "deterministic"
    )
    table = done.stdout.decode()
    assert table.index("model2vec:small") < table.index("deterministic")
    assert "hit@10" in table
    assert "3 pairs, each query ranked over 3 texts." in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pairs.jsonl", "--embedder", "word2vec"], "there is no embedder 'word2vec'"),
        (["pairs.jsonl", "--embedder", "openai"], "set embedding.provider to openai"),
        (["pairs.jsonl", "--embedder", "model2vec:nothing"], "nothing isn't a folder; nothing is downloaded"),
        (["none.jsonl"], "none.jsonl can't be read"),
    ],
)
def test_what_can_not_be_compared_is_said_at_once(cli: Cli, arguments: list[str], told: str) -> None:
    done = cli("embedders", "compare", *arguments, code=1)
    assert told in " ".join(done.stderr.decode().split())
    assert done.stdout == b""


def test_they_are_listed(cli: Cli) -> None:
    found = {str(each["embedder"]): each for each in cli.items("embedders", "list")}
    assert found["wordllama"]["configured"] is True
    assert found["wordllama"]["languages"] == ["en"]
    assert found["multilingual"]["dimension"] == 384
    assert found["model2vec"]["usable"] is False
    table = cli("embedders", "list").stdout.decode()
    assert "94 languages" in table
    assert "any, or unknown" in table


GERMAN = "Die Fähre bringt Autos über den Fluss, und die alte Brücke war im Mai wegen einer Reparatur gesperrt."


def test_an_ingest_of_text_that_the_embedder_is_not_for_is_warned_of_once(cli: Cli) -> None:
    facts = [
        {"source_uri": f"doc:{n}", "extraction_type": "fact", "data": {"text": f"{GERMAN} {n}"}}
        for n in range(20)
    ]
    body = "\n".join(map(json.dumps, facts)).encode()
    done = cli("ingest", "-", "-p", "shop", "--json", stdin=body)
    [warning] = json.loads(done.stdout)["warnings"]
    assert "is in languages (de) that the embedder wordllama/l2_supercat wasn't made for" in warning
    assert done.stderr.decode().count("wasn't made for") == 1
