"""Reading pairs of a query and its text."""

import io
from pathlib import Path

import pytest

from app.domain.pairs import Pair
from app.errors import InvalidInput
from app.intake import pairs as pairs_module
from app.intake.pairs import read_pairs

BOTH = [Pair("who?", "Anna, Größe 42"), Pair("where?", "in Oslo")]


def write(folder: Path, name: str, content: str | bytes) -> str:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "p.jsonl",
            '{"query": "who?", "text": "Anna, Größe 42", "more": 1}\n\n{"text": "in Oslo", "query": "where?"}',
        ),
        (
            "p",
            '\ufeff{"query": "who?", "text": "Anna, Größe 42"}\r\n{"text": "in Oslo", "query": "where?"}\r\n',
        ),
        ("p.csv", 'query,text\nwho?,"Anna, Größe 42"\nwhere?,in Oslo\n'),
        ("p.CSV", '\ufefftext,id,query\r\n"Anna, Größe 42",1,who?\r\nin Oslo,2,where?\r\n'),
        ("p.tsv", "query\ttext\nwho?\tAnna, Größe 42\nwhere?\tin Oslo\n"),
    ],
)
def test_pairs_are_read(tmp_path: Path, name: str, content: str) -> None:
    assert read_pairs(write(tmp_path, name, content)) == BOTH


def test_pairs_are_read_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('{"query": "where?", "text": "in Oslo"}\n'))
    assert read_pairs("-") == BOTH[1:]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("p.jsonl", "", 'p.jsonl holds no pairs; write one {"query": "...", "text": "..."} per line'),
        ("p.jsonl", '{"query": "a", "text": "b"}\n{', "p.jsonl, line 2: no JSON"),
        ("p.jsonl", "[1]", "p.jsonl, line 1: it must be an object"),
        ("p.jsonl", '{"query": "a"}', "p.jsonl, line 1: 'text' must be text that isn't blank"),
        ("p.jsonl", '{"query": 5, "text": "b"}', "p.jsonl, line 1: 'query' must be text that isn't blank"),
        ("p.jsonl", '{"query": "a", "text": " "}', "'text' must be text that isn't blank"),
        ("p.jsonl", b'{"query": "\xff"}', "p.jsonl isn't UTF-8"),
        ("p.csv", "question,text\na,b\n", "p.csv has no column 'query'"),
        ("p.csv", "query,text\na\n", "p.csv, line 2: 'text' must be text that isn't blank"),
        ("p.csv", 'query,text\n"a,b\n', "p.csv, after line 1: unexpected end of data"),
    ],
)
def test_what_is_no_pair_is_named_by_its_line(
    tmp_path: Path, name: str, content: str | bytes, told: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_pairs(write(tmp_path, name, content))
    assert told in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.jsonl can't be read: No such file"):
        read_pairs(str(tmp_path / "none.jsonl"))


def test_too_many_pairs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs_module, "MAX_PAIRS", 2)
    line = '{"query": "a", "text": "b"}\n'
    assert len(read_pairs(write(tmp_path, "p", line * 2))) == 2
    with pytest.raises(InvalidInput, match="has more than 2 pairs"):
        read_pairs(write(tmp_path, "p", line * 3))
