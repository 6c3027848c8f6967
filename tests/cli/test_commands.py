"""The command line, tried as a person would: real processes, real stores."""

import gzip
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from support.cli import EXAMPLE, Cli

pytestmark = pytest.mark.slow


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def line(number: int, **changes: Any) -> bytes:
    item = {
        "source_uri": f"doc:{number}",
        "source_group": f"group-{number % 2}",
        "extraction_type": "fact",
        "data": {"fact_text": f"fact number {number}", "n": number},
    }
    return json.dumps({**item, **changes}).encode() + b"\n"


def lines(count: int) -> bytes:
    return b"".join(line(number) for number in range(count))


def test_the_way_of_a_new_user(tmp_path: Path) -> None:
    cli = Cli(tmp_path, EMBEDDING_PROVIDER="wordllama")
    first = cli("ingest", str(EXAMPLE), "--project", "wordnet").stdout.decode()
    assert "Stored 2,000 new extractions in project wordnet" in first
    assert "Indexed 2,000" in first
    again = cli("ingest", str(EXAMPLE), "--project", "wordnet").stdout.decode()
    assert "Nothing new: 2,000 of 2,000 were stored already, and weren't stored twice." in again
    found = cli("search", "a human being", "--project", "wordnet", "--limit", "3").stdout.decode()
    assert "homo, man, human being" in found
    assert "The stores agree." in cli("verify").stdout.decode()
    assert "wordnet" in cli("projects", "list").stdout.decode()
    assert "embed" in cli("metrics").stdout.decode()
    cli("projects", "delete", "wordnet", "--yes")
    assert cli.json("verify")["points"] == 0
    assert cli.items("projects", "list") == []


def test_every_command_that_prints_data_prints_json(cli: Cli) -> None:
    report = cli.json("ingest", "-", stdin=lines(20))
    assert {key: report[key] for key in ("project", "new", "known", "indexed", "refused")} == {
        "project": "default",
        "new": 20,
        "known": 0,
        "indexed": 20,
        "refused": 0,
    }
    [best, *_] = cli.hits("fact number 7", "--limit", "5")
    assert best["data"] == {"fact_text": "fact number 7", "n": 7}
    assert best["source_uri"] == "doc:7"
    assert cli.json("verify")["remaining"] == 0
    assert cli.json("verify", "--repair")["remaining"] == 0
    assert cli.json("metrics")["extractions"] == {"fact": 20}
    assert cli.items("projects", "list")[0]["extractions"] == 20
    assert all(part["ok"] for part in cli.json("doctor")["parts"])
    assert cli.json("reindex") == {"indexed": 20, "set_aside": 0, "cut": 0}
    assert cli.json("optimize") == {"optimized_vectors": 20}
    assert cli.json("db", "upgrade")["revision"]
    assert cli.json("config", "check")["ok"]
    deleted = cli.json("projects", "delete", "default", "--yes")
    assert (deleted["project"], deleted["deleted"]) == ("default", 20)


def test_what_is_cut_before_embedding_is_counted(tmp_path: Path) -> None:
    cli = Cli(tmp_path, EMBEDDING_MAX_CHARS="13")
    stored = line(1) + line(20) + line(300)
    assert "Cut 2 of them before embedding" in cli("ingest", "-", stdin=stored).stdout.decode()
    assert "; 2 cut, because" in cli("reindex").stdout.decode()
    assert cli.json("reindex") == {"indexed": 3, "set_aside": 0, "cut": 2}
    assert cli.json("ingest", "-", stdin=line(4000))["cut"] == 1
    [newest, *_] = cli.items("jobs", "list")
    assert newest["result"] == {"indexed": 1, "set_aside": 0, "cut": 1}


def test_search_filters(cli: Cli) -> None:
    cli("ingest", "-", stdin=lines(30))

    def found(*options: str) -> list[int]:
        return sorted(result["data"]["n"] for result in cli.hits("fact", "--limit", "100", *options))

    assert found("--source-group", "group-1") == list(range(1, 30, 2))
    assert found("--where", "n=4") == [4]
    assert found("--where", "n='4'") == []
    assert found("--where", 'fact_text="fact number 5"') == [5]
    assert found("--extraction-type", "claim") == []
    cli("search", "fact", "--where", "n", code=2)
    cli("search", "fact", "--where", "n=[1]", code=2)
    cli("search", "fact", "--limit", "0", code=2)
    assert b"no project 'nowhere'" in cli("search", "fact", "--project", "nowhere", code=1).stderr


# --- bad input ------------------------------------------------------------------------------------

BAD_LINES = {
    "not json": b"{bad\n",
    "an array": b"[1, 2]\n",
    "a lacking field": b'{"source_uri": "x", "data": {"text": "y"}}\n',
    "a wrong type": line(1, confidence="high"),
    "empty text": line(1, data={"fact_text": ""}),
    "a URI of 10 MB": line(1, source_uri="u" * 10_000_000),
    "NaN": line(1, data={"fact_text": "x", "n": float("nan")}),
    "deep nesting": b'{"source_uri": "x", "extraction_type": "t", "data": '
    + b'{"a":' * 1_000
    + b"1"
    + b"}" * 1_001
    + b"\n",
    "a lone surrogate": line(1, data={"fact_text": "\ud800"}),
}


@pytest.mark.parametrize("bad", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_by_number_with_what_stands_before_it_kept(cli: Cli, bad: bytes) -> None:
    cli("db", "upgrade")
    done = cli("ingest", "-", "-p", "default", stdin=lines(3) + bad + line(4), code=1)
    error = done.stderr.decode()
    assert "Error: line 4: " in error
    assert "Everything before it is stored" in error
    assert len(error) < 500
    assert "Stored 3 new extractions" in done.stdout.decode()
    assert cli.json("verify")["points"] == 3


def test_skipping_goes_on_and_keeps_the_rejects(cli: Cli) -> None:
    content = line(0) + BAD_LINES["not json"] + line(1) + BAD_LINES["empty text"] + line(2)
    (cli.folder / "in.jsonl").write_bytes(content)
    report = cli.json("ingest", "in.jsonl", "--skip-invalid", code=3)
    assert (report["new"], report["indexed"], report["refused"]) == (3, 3, 2)
    rejects = [json.loads(text) for text in (cli.folder / "in.jsonl.rejects.jsonl").read_bytes().splitlines()]
    assert [reject["line"] for reject in rejects] == [2, 4]
    assert rejects[0]["raw"] == "{bad"
    assert rejects[0]["reason"].startswith("not JSON")


def test_rejects_never_overwrite_a_file_that_was_named(cli: Cli) -> None:
    (cli.folder / "in.jsonl").write_bytes(lines(2) + b"bad\n")
    before = (cli.folder / "in.jsonl").read_bytes()
    error = cli("ingest", "in.jsonl", "--skip-invalid", "--rejects", "in.jsonl", code=2).stderr.decode()
    assert "isn't overwritten" in " ".join(error.replace("│", " ").split())
    assert (cli.folder / "in.jsonl").read_bytes() == before
    done = cli("ingest", "in.jsonl", "--skip-invalid", "--rejects", "no/such/folder", code=1)
    assert "the rejects file no/such/folder: it can't be written: No such file" in done.stderr.decode()


def test_compressed_standard_input_is_read(cli: Cli) -> None:
    assert cli.json("ingest", "-", stdin=gzip.compress(lines(3)))["new"] == 3


def test_a_lost_index_is_told_and_rebuilt(cli: Cli) -> None:
    cli("ingest", "-", stdin=lines(5))
    shutil.rmtree(cli.folder / "data" / "qdrant")
    for command in (["search", "fact", "--mode", "meaning"], ["ingest", "-"], ["verify"]):
        assert "agent-storage reindex" in cli(*command, stdin=lines(5), code=1).stderr.decode()
    assert cli.json("reindex")["indexed"] == 5
    assert cli.json("verify")["remaining"] == 0


def test_a_database_folder_that_can_not_be_made_is_named(cli: Cli) -> None:
    (cli.folder / "file").touch()
    cli.environment["DATABASE_URL"] = "sqlite:///file/below/it.db"
    assert "folder file/below can't be created" in cli("db", "upgrade", code=1).stderr.decode()


def test_another_embedder_is_refused_and_reindex_takes_it(cli: Cli) -> None:
    cli("ingest", "-", stdin=lines(5))
    cli.environment["EMBEDDING_DIMENSION"] = "16"
    assert "reindex" in cli("search", "fact", "--mode", "meaning", code=1).stderr.decode()
    assert "Incomplete: meaning: " in cli("search", "fact").stderr.decode()
    assert cli.json("reindex")["indexed"] == 5
    assert len(cli.hits("fact")) == 5


def test_a_byte_order_mark_and_crlf_are_no_fault(cli: Cli) -> None:
    content = b"\xef\xbb\xbf" + lines(3).replace(b"\n", b"\r\n")
    assert cli.json("ingest", "-", stdin=content)["new"] == 3


def test_files_that_can_not_be_read_are_refused(cli: Cli) -> None:
    (cli.folder / "empty.jsonl").touch()
    (cli.folder / "cut.jsonl.gz").write_bytes(
        gzip.compress(b"".join(line(n, data={"text": "x" * n}) for n in range(1, 99)))[:-9]
    )
    for name, reason in [
        ("missing.jsonl", "can't be read: No such file"),
        (".", "is a directory"),
        ("empty.jsonl", "is empty"),
        ("cut.jsonl.gz", "cut short after line"),
    ]:
        assert reason in cli("ingest", name, code=1).stderr.decode()


def test_unusable_settings_are_refused_in_words(cli: Cli) -> None:
    cli.environment["DATABASE_POOL_SIZE"] = "-1"
    error = cli("ingest", "-", stdin=lines(1), code=1).stderr.decode()
    assert "database.pool_size" in error
    assert "-1" in error
    assert not (cli.folder / "data").exists()


def test_no_such_command_is_a_usage_error(cli: Cli) -> None:
    cli("ingets", code=2)
    cli("ingest", code=2)


# --- other processes, signals, terminals ----------------------------------------------------------


def test_a_second_process_is_told_which_directory_is_in_use(cli: Cli) -> None:
    first = cli.start("ingest", "-")
    assert first.stdin is not None
    first.stdin.write(lines(1_000))
    first.stdin.flush()
    try:
        wait_for_directory(cli)
        error = cli("search", "fact", code=1).stderr.decode()
        assert "another process is using" in error
        assert str(Path("data") / "qdrant") in error
        assert "qdrant.path" in error
        cli("metrics")
    finally:
        first.stdin.close()
        assert first.wait(timeout=60) == 0
        for stream in (first.stdout, first.stderr):
            assert stream is not None
            stream.close()


def wait_for_directory(cli: Cli) -> None:
    """Until the process that was started has the index open: its rows are marked."""
    for _ in range(600):
        if (cli.folder / "data" / "agent-storage.db").exists():
            counts = cli.json("metrics")["extractions"]
            if counts:
                return
        time.sleep(0.05)
    pytest.fail("the first process stored nothing")


def test_help_is_quick_to_import(cli: Cli) -> None:
    """Nothing heavy is imported for --help: not the parts, not the libraries they use."""
    heavy = (
        "sqlalchemy",
        "qdrant_client",
        "qdrant_edge",
        "numpy",
        "wordllama",
        "pydantic",
        "dependency_injector",
        "alembic",
    )
    assert cli.loaded([*heavy, "typer"], "--help") == {"typer"}


def test_the_embedded_default_never_imports_the_server_client(cli: Cli) -> None:
    assert cli.loaded(["qdrant_client", "qdrant_edge"], "ingest", str(EXAMPLE)) == {"qdrant_edge"}
