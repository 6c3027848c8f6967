import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from support.settings import KEYS, SECRET, SECRETS, enter_empty_place, write_yaml
from typer.testing import CliRunner, Result

from app.cli.config import app as config_app


@dataclass(frozen=True)
class Root:
    config_file: Path | None


root = typer.Typer()
root.add_typer(config_app, name="config")


@root.callback()
def main(ctx: typer.Context, config: Annotated[Path | None, typer.Option()] = None) -> None:
    ctx.obj = Root(config)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, and an environment without settings."""
    return enter_empty_place(tmp_path, monkeypatch)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(root, [str(argument) for argument in arguments])


# --- show -----------------------------------------------------------------------------------------


def test_show_prints_every_setting_with_its_source(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "7")
    (folder / ".env").write_text("API_PORT=81\n")
    file = write_yaml(folder / "given.yml", {"logging": {"level": "debug"}})
    done = run("--config", file, "config", "show", "--json")
    shown = {entry["key"]: (entry["value"], entry["source"]) for entry in json.loads(done.stdout)["items"]}
    assert (done.exit_code, done.stderr) == (0, "")
    assert list(shown) == KEYS
    assert shown["database.pool_size"] == (7, "environment DB_POOL_SIZE")
    assert shown["api.port"] == (81, ".env API_PORT")
    assert shown["logging.level"] == ("DEBUG", str(file))
    assert shown["database.max_overflow"] == (10, "default")
    assert shown["qdrant.mode"] == ("embedded", "default")
    assert shown["embedding.text_fields"] == (["fact_text", "text", "summary"], "default")
    assert shown["qdrant.api_key"] == (None, "default")
    assert shown["worker.time_limits"] == ({}, "default")


def test_show_prints_a_table_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "7")
    done = run("config", "show")
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines() if "│" in line
    ]
    assert done.exit_code == 0
    assert [row[0] for row in rows] == KEYS
    assert ["database.pool_size", "7", "environment DB_POOL_SIZE"] in rows
    assert ["database.pool_timeout", "30.0", "default"] in rows
    assert ["qdrant.url", "null", "default"] in rows


@pytest.mark.parametrize("place", ["environment", "file"])
def test_a_mapping_is_shown_and_accepted(place: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if place == "environment":
        monkeypatch.setenv("WORKER_TIME_LIMITS", '{"verify": 7200}')
    else:
        write_yaml(folder / "config.yml", {"worker": {"time_limits": {"verify": 7200}}})
    assert run("config", "check").output == "OK\n"
    assert '{"verify": 7200.0}' in run("config", "show").stdout
    shown = {
        entry["key"]: entry["value"] for entry in json.loads(run("config", "show", "--json").stdout)["items"]
    }
    assert shown["worker.time_limits"] == {"verify": 7200.0}


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize("command", ["show", "check"])
@pytest.mark.parametrize("usable", [True, False])
def test_no_command_prints_a_secret(command: str, flags: list[str], usable: bool, folder: Path) -> None:
    values = {
        **SECRETS,
        "worker": {"batch_size": 1 if usable else 0},
        "api": {"api_keys": [f"{SECRET} of the API", "" if not usable else "another-of-16-chars"]},
    }
    done = run("--config", write_yaml(folder / "given.yml", values), "config", command, *flags)
    assert done.exit_code == (0 if usable else 1)
    assert SECRET not in done.output
    assert ("********" in done.stdout) == (command == "show" or not usable)


def test_show_takes_no_value_for_markup_and_breaks_no_line(folder: Path) -> None:
    done = run(
        "--config",
        write_yaml(folder / "given.yml", {"embedding": {"model": "[red]a\nb[/red]"}}),
        "config",
        "show",
    )
    assert '"[red]a\\nb[/red]"' in done.stdout


def test_show_cuts_no_value(folder: Path) -> None:
    path = "/".join("abcdefghij" * 9)
    done = run("--config", write_yaml(folder / "given.yml", {"qdrant": {"path": path}}), "config", "show")
    cells = [line.split("│")[2].strip() for line in done.stdout.splitlines() if "│" in line]
    assert path in "".join(cells)


@pytest.mark.parametrize("value", [float("nan"), 10**30, "a\nb", ["a", {"b": None}]])
def test_show_prints_valid_json_whatever_was_given(value: object, folder: Path) -> None:
    done = run(
        "--config", write_yaml(folder / "given.yml", {"api": {"port": value}}), "config", "show", "--json"
    )
    assert done.exit_code == 1
    assert "NaN" not in done.stdout
    assert len(json.loads(done.stdout)["items"]) == len(KEYS)


@pytest.mark.parametrize("flags", [[], ["--json"]])
@pytest.mark.parametrize("command", ["show", "check"])
def test_bytes_that_are_no_text_are_refused_in_words(
    command: str, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_PATH", os.fsdecode(b"data\xff"))
    done = run("config", command, *flags)
    assert done.exit_code == 1
    assert "must be a directory" in done.output
    assert "udcff" in done.output


def test_show_prints_what_was_given_even_if_it_is_unusable(folder: Path) -> None:
    done = run(
        "--config",
        write_yaml(folder / "given.yml", {"database": {"pool_size": "many", "max_overflow": 3}}),
        "config",
        "show",
        "--json",
    )
    shown = {entry["key"]: entry["value"] for entry in json.loads(done.stdout)["items"]}
    assert done.exit_code == 1
    assert (shown["database.pool_size"], shown["database.max_overflow"]) == ("many", 3)
    assert "Error: database.pool_size = many" in done.stderr


def test_show_works_without_the_file_it_was_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_POOL_SIZE", "7")
    done = run("--config", folder / "missing.yml", "config", "show", "--json")
    assert done.exit_code == 1
    assert {"key": "database.pool_size", "value": 7, "source": "environment DB_POOL_SIZE"} in json.loads(
        done.stdout
    )["items"]
    assert (
        done.stderr
        == f"Error: config file = {folder}/missing.yml (--config): can't be read: No such file or directory\n"
    )


# --- check ----------------------------------------------------------------------------------------


def test_check_says_ok() -> None:
    done = run("config", "check")
    assert (done.exit_code, done.output) == (0, "OK\n")


def test_check_says_ok_in_json() -> None:
    done = run("config", "check", "--json")
    assert (done.exit_code, json.loads(done.output)) == (0, {"ok": True, "problems": [], "warnings": []})


def test_check_prints_every_problem(folder: Path) -> None:
    done = run(
        "--config", write_yaml(folder / "given.yml", {"api": {"port": -1, "host": []}}), "config", "check"
    )
    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        f"Error: api.host = [] ({folder}/given.yml): must be an address or host name",
        f"Error: api.port = -1 ({folder}/given.yml): must be a whole number from 1 to 65535",
        "2 problems",
    ]


def test_check_counts_one_problem_as_one(folder: Path) -> None:
    done = run("--config", write_yaml(folder / "given.yml", {"api": {"port": -1}}), "config", "check")
    assert done.stdout.splitlines()[-1] == "1 problem"


def test_check_prints_every_problem_in_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "-1")
    monkeypatch.setenv("API_SERVICE_HOST", "10.0.0.1")
    done = run("--config", write_yaml(folder / "given.yml", {"api": {"prot": 1}}), "config", "check", "--json")
    document = json.loads(done.stdout)
    assert (done.exit_code, document["ok"]) == (1, False)
    assert document["problems"] == [
        {
            "key": "api.prot",
            "value": f"1 ({folder}/given.yml)",
            "allowed": "isn't a setting; the nearest is api.port",
        },
        {
            "key": "api.port",
            "value": "-1 (environment API_PORT)",
            "allowed": "must be a whole number from 1 to 65535",
        },
    ]
    assert document["warnings"] == [
        "API_SERVICE_HOST (environment) isn't a setting and is ignored; the nearest is API_HOST"
    ]


def test_a_warning_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_SERVICE_HOST", "10.0.0.1")
    done = run("config", "check")
    assert (done.exit_code, done.stdout) == (0, "OK\n")
    assert done.stderr.startswith("Warning: QDRANT_SERVICE_HOST (environment) isn't a setting and is ignored")


def test_the_commands_work_without_a_root_that_was_told_a_file() -> None:
    assert CliRunner().invoke(config_app, ["check"]).output == "OK\n"
