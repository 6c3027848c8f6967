"""The page on operations, done as it says: its commands, and what it says of backups and errors."""

import json
import re
import shlex
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.cli import Cli
from support.every_error import one_of_each
from support.pages import Page, json_values, reading, text_of
from support.parts import fill, index_all, make_item, open_container
from support.postgres import PostgresServer
from support.postgres_process import programs
from support.processes import serve_process

from app.domain.ids import parse_extraction_id
from app.domain.search import Query
from containers import Container

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = text_of("docs/operations.md")
FACTS = [
    {
        "source_uri": f"https://example.org/{name}",
        "extraction_type": "claim",
        "data": {"text": f"{name} of crossing the water"},
    }
    for name in ("old", "new", "other")
]


def test_the_page(tmp_path: Path, postgres_url: str, postgres_server: PostgresServer) -> None:
    name, empty_url = postgres_server.create(migrated=False)
    try:
        with reading("docs/operations.md", tmp_path) as page:
            page.replaced |= {"/backups": f"{tmp_path}/backups", "/srv/agent-storage": str(tmp_path)}
            store(page)
            back_up_and_restore(page, postgres_url, empty_url)
            page.run()
            go_through_a_service(page)
            page.replaced["/opt/agent-storage/bin/"] = ""
            page.run()
            page.run()
            page.replaced["--minutes 5"] = "--minutes 0.05"
            assert "All checks passed" in page.run().stdout
            look_at_what_is_stored(page)
    finally:
        postgres_server.drop(name)


def store(page: Page) -> None:
    lines = "\n".join(map(json.dumps, FACTS))
    page.shell("agent-storage ingest - -p mine --run nightly", stdin=lines)


def back_up_and_restore(page: Page, postgres_url: str, empty_url: str) -> None:
    """Follow both sections, on SQLite and on PostgreSQL in turn."""
    page.run()
    schedule = page.take("text").split(maxsplit=5)
    page.shell(schedule[5])
    assert len(list((page.folder / "backups").glob("*.db"))) == 2

    with on_postgres(page, postgres_url):
        store(page)
        page.shell(printed_command(page, page.take("bash").strip()))

    shutil.rmtree(page.folder / "data")
    page.run()
    assert page.shell("agent-storage extractions count -p mine").stdout.strip() == "3"

    with on_postgres(page, empty_url):
        restore, upgrade, check = page.take("bash").splitlines()
        page.shell(printed_command(page, restore))
        page.shell(upgrade)
        page.shell(check)


@contextmanager
def on_postgres(page: Page, url: str) -> Iterator[None]:
    """Let the page's commands use that database, with its own index."""
    sqlite = dict(page.environment)
    page.environment |= {"DATABASE_URL": url, "QDRANT_PATH": "data/postgres"}
    yield
    page.environment = sqlite


def printed_command(page: Page, line: str) -> str:
    """Return the call that a line of the page prints, which must be as its comment shows it."""
    command, comment = line.split("# prints: ")
    printed = page.shell(command).stdout.strip()
    assert re.fullmatch(re.escape(comment).replace("…", ".+"), printed), printed
    return f"PATH={programs()}:$PATH {printed}"


def go_through_a_service(page: Page) -> None:
    with serve_process(page.folder, {}) as service:
        page.replaced["http://127.0.0.1:8000"] = service.url
        command, told = page.take("text").splitlines()
        assert page.shell(command.removeprefix("$ ")).stderr.strip() == told


def look_at_what_is_stored(page: Page) -> None:
    [listed] = json_values(page.shell("agent-storage extractions list -p mine --limit 1 --json").stdout)
    [stored] = listed["items"]
    page.replaced["show ID"] = f"show {stored['id']}"
    page.run(stdin="y\n")
    assert page.shell("agent-storage extractions count -p mine").stdout.strip() == "2"


def printed(start: str) -> list[str]:
    """The arguments of the page's first command line that begins with this."""
    [line, *_] = re.findall(rf"^ *{start}.*$", PAGE, re.MULTILINE)
    return shlex.split(line, comments=True)


def command_line(folder: Path) -> Cli:
    return Cli(folder, DATABASE_URL=f"sqlite:///{folder / 'test.db'}", QDRANT_PATH=str(folder / "qdrant"))


def back_up(folder: Path) -> Path:
    """Run the page's backup command in a separate process."""
    _, *arguments = printed("agent-storage backup /backups --keep")
    command_line(folder)(*(str(folder / "backups") if each == "/backups" else each for each in arguments))
    return folder / "backups"


def restore(folder: Path, backups: Path) -> None:
    _, *arguments = printed("agent-storage restore /backups")
    words = [str(backups) if each == "/backups" else each for each in arguments]
    command_line(folder)(*words, "--overwrite")


def copy_by_hand(folder: Path) -> Path:
    """Copy the database by SQL, as any other program can."""
    assert "VACUUM INTO" in PAGE
    backup = folder / "backup.db"
    with closing(sqlite3.connect(folder / "test.db")) as connection:
        connection.execute(f"VACUUM INTO '{backup}'")
    return backup


def put_back_by_hand(folder: Path, backup: Path) -> None:
    [removed] = re.findall(r"`rm -f ([^`]*)`", PAGE)
    for name in removed.replace("data/agent-storage.db", "test.db").split():
        (folder / name).unlink(missing_ok=True)
    shutil.copy(backup, folder / "test.db")


async def differences(container: Container, *, repair: bool = False) -> tuple[int, int, int]:
    await container.indexing().prepare(repair=repair)
    *_, last = [found async for found in container.reconciliation().run(repair=repair)]
    return last.orphans, last.ghosts, last.missing


WAYS = {"the commands": (back_up, restore), "by hand": (copy_by_hand, put_back_by_hand)}


@pytest.mark.parametrize("way", WAYS)
async def test_a_backup_that_is_restored_is_what_was_there(tmp_path: Path, way: str) -> None:
    make, put_back = WAYS[way]
    items = [make_item(n) for n in range(30)]
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, items[:20])
        backup = make(tmp_path)  # while it runs
        accepted = await container.ingestion().accept("papers", items[20:])
        (first, *_) = await container.search().search(Query("river", project="papers", limit=1))
        await container.extractions().delete(first.extraction.id)
        await index_all(container)
        await container.ingestion().accept("papers", [make_item(99)])  # not indexed when it ends

    put_back(tmp_path, backup)
    with open_container(tmp_path, mode="embedded") as container:
        assert await differences(container) == (0, 10, 1)
        assert await differences(container, repair=True) == (0, 10, 1)
        assert await differences(container) == (0, 0, 0)
        found = await container.search().search(Query("river", project="papers", limit=100))
    ids = {each.extraction.id for each in found}
    assert len(ids) == 20
    assert parse_extraction_id(str(first.extraction.id)) in ids
    assert not ids & set(accepted.ids)


async def test_an_index_that_is_lost_is_made_again(tmp_path: Path) -> None:
    with open_container(tmp_path, mode="embedded") as container:
        await fill(container, [make_item(n) for n in range(20)])
    shutil.rmtree(tmp_path / "qdrant")
    with open_container(tmp_path, mode="embedded") as container:
        indexed = [batch.indexed async for batch in container.reindexing().run()]
        assert sum(indexed) == 20
        assert await differences(container) == (0, 0, 0)


def test_the_page_quotes_what_errors_really_say() -> None:
    said = [str(error) for error in one_of_each()]
    quoted = re.findall(r"^\| `([a-z][^`]+)`", PAGE.split("## What to do when")[1], re.MULTILINE)
    assert len(quoted) > 4
    assert [words for words in quoted if not any(words in each for each in said)] == []


def test_the_page_says_what_to_do_for_each_alert() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", rules)
    assert re.findall(r"^\| `(AgentStorage\w+)`", PAGE, re.MULTILINE) == alerts
