"""The page on deploying, done as it says, except what needs containers, systemd or root."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url
from support.cli import ROOT
from support.pages import Page, json_values, reading
from support.postgres import PostgresServer
from support.processes import serve_process, wait_until_ready

pytestmark = pytest.mark.slow

ROLE = "agent_of_the_page"


@pytest.fixture
def empty_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database without tables."""
    name, url = postgres_server.create(migrated=False)
    yield url
    postgres_server.drop(name)


def test_the_page(tmp_path: Path, empty_url: str) -> None:
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    with reading("docs/deploy.md", tmp_path) as page:
        assert page.take("bash") == "agent-storage serve\n"
        build_an_image(page)
        set_up_systemd(page)
        with serve_process(tmp_path, {}) as service:
            page.replaced["http://127.0.0.1:8000"] = service.url
            wait_until_ready(service)
            [health] = json_values(page.run().stdout)
        assert health["ok"]
        (tmp_path / ".env").unlink()
        page.run()
        page.check_settings("ini")
        share_postgres(page, empty_url)
        page.check_settings("ini")


def build_an_image(page: Page) -> None:
    page.shell(
        "git init -q . && git -c user.name=a -c user.email=a@b commit -qm c --allow-empty && git tag v1.2.3"
    )
    page.run()


def set_up_systemd(page: Page) -> None:
    """Install the units below the page's folder."""
    (page.folder / "etc" / "systemd" / "system").mkdir(parents=True)
    page.replaced |= {
        "/opt/agent-storage/bin/": "",
        "/opt/": f"{page.folder}/opt/",
        "/etc/": f"{page.folder}/etc/",
        " -g agent-storage ": " ",
        "KEY,ANOTHER": f"{'one' * 8},{'two' * 8}",
    }
    page.run()
    units = {path.name for path in (page.folder / "etc" / "systemd" / "system").iterdir()}
    assert units == {path.name for path in (ROOT / "deploy" / "systemd").iterdir()}
    page.check_settings("ini")
    page.run()


def share_postgres(page: Page, url: str) -> None:
    """Make the page's role and schema in that database, and use them by the page's URL."""
    page.replaced |= {"ROLE agent ": f"ROLE {ROLE} ", "AUTHORIZATION agent;": f"AUTHORIZATION {ROLE};"}
    execute(url, page.take("sql"))
    shown = make_url(page.take("ini").strip().removeprefix("DATABASE_URL="))
    own = make_url(url).set(username=ROLE, password=shown.password).update_query_dict(shown.query)
    page.environment["DATABASE_URL"] = own.render_as_string(hide_password=False)
    try:
        page.shell("agent-storage db upgrade")
        execute(url, "SELECT id FROM agent_storage.extractions")
    finally:
        execute(url, f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
        del page.environment["DATABASE_URL"]


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statements)
