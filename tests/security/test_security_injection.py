"""Input never becomes a part of an SQL statement: every parameter, on both dialects."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, event, select
from support.api import raw_item
from support.postgres import PostgresServer
from support.rows import statements
from support.served import served
from support.settings import enter_empty_place
from typer.testing import CliRunner

from app.api.app import create_app
from app.cli.context import CliContext
from app.cli.main import app as command_line
from app.config import Settings
from app.domain.conditions import And, Compare, InData, Op
from app.entrypoints.api import options_of
from app.entrypoints.cli import draw_graph, open_parts
from app.intake.where_json import write_where_json
from app.intake.where_text import write_where
from app.models import Base
from containers import create_container

pytestmark = pytest.mark.slow

MARK = "zq7"
"""Stands in everything that is sent, so that it would be seen in a statement."""

ATTACKS = [
    f"{attack} {MARK}"
    for attack in (
        "' OR 1=1 --",
        "' OR '1'='1",
        '" OR ""="',
        "'; DROP TABLE extractions; --",
        "x'); DELETE FROM projects; --",
        "1 UNION SELECT name, sql FROM sqlite_master",
        "' UNION SELECT usename, passwd FROM pg_shadow --",
        "'; SELECT pg_sleep(9); --",
        "\\' OR 1=1 --",
        "$.a",
        "$[*]",
        '$."a" || 1',
        '"].a["',
        "{a,b}\" -> 'x",
        "a.b.c",
        "%(id)s %s {0} ${x}",
        ":id ? $1",
        "%' ESCAPE '",
        "_%",
        "*",
        "\x1b[31m\r\nx-injected: yes",
        "\u2019 OR 1=1 --",
        "\u02bc; DROP TABLE jobs",
        "../../etc/passwd",
        "日本語 🙂",
    )
]
SENT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0=."), max_size=20).map(
    lambda middle: f"{middle}'{MARK}"
)


def attack_item(attack: str, number: int = 0) -> dict[str, Any]:
    """An extraction that holds the attack wherever one may stand."""
    data = {"fact_text": f"river {number}", attack: attack, "deep": {attack: number}}
    return raw_item(
        number, source_uri=attack, source_group=attack[:200], extraction_type=attack[:200], data=data
    )


@dataclass(frozen=True)
class Target:
    """A service, and the engine of its database."""

    client: httpx2.Client
    engine: Engine

    def items(self, answer: httpx2.Response) -> list[dict[str, Any]]:
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    @contextmanager
    def unharmed(self, *but: str) -> Iterator[None]:
        """Check that only those tables change, and that no statement contains the input."""
        before = contents(self.engine, but)
        with statements(self.engine) as sent:
            yield
        assert [statement for statement in sent if MARK in statement] == []
        assert contents(self.engine, but) == before


def contents(engine: Engine, but: Sequence[str] = ()) -> dict[str, list[str]]:
    """Every table's rows."""
    tables = [table for table in Base.metadata.sorted_tables if table.name not in but]
    with engine.connect() as connection:
        return {table.name: sorted(map(str, connection.execute(select(table)))) for table in tables}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("served")
    sections: dict[str, Any] = {}
    server: PostgresServer | None = None
    name = ""
    if request.param == "postgres":
        server = request.getfixturevalue("postgres_server")
        name, url = server.create()
        sections = {"database": {"url": url}}
    with served(folder, sections=sections) as (client, api):
        yield Target(client, api.container.engine())
    if server is not None:
        server.drop(name)


@pytest.fixture(scope="module")
def filled(target: Target) -> Target:
    """With an extraction for each attack, and one beside them."""
    items = [*(attack_item(attack, number) for number, attack in enumerate(ATTACKS)), raw_item(99)]
    with statements(target.engine) as sent:
        answer = target.client.post(
            "/v1/projects/papers/extractions",
            json={"extractions": items},
            headers={"idempotency-key": f"'{MARK}"},
        )
    assert answer.status_code == 202, answer.text
    assert [statement for statement in sent if MARK in statement] == []
    return target


# --- filters give what comparing gives ------------------------------------------------------------


@pytest.mark.parametrize("name", ["extraction_types", "source_groups", "where"])
def test_a_query_parameter_is_compared_as_it_stands(filled: Target, name: str) -> None:
    with filled.unharmed():
        for attack in ATTACKS:
            value = write_where(Compare(InData((attack,)), Op.EQ, attack)) if name == "where" else attack
            found = filled.items(
                filled.client.get("/v1/projects/papers/extractions", params={name: value, "limit": 1000})
            )
            assert [item["source"]["uri"] for item in found] == [attack]


@pytest.mark.parametrize("path", ["/v1/projects/papers/search", "/v1/search"])
def test_a_body_is_compared_as_it_stands(filled: Target, path: str) -> None:
    """Nothing is indexed yet, so that what is found is found by its words, in SQL."""
    some = 0
    with filled.unharmed():
        for number, attack in enumerate(ATTACKS):
            wanted = write_where_json(
                And(
                    (
                        Compare(InData((attack,)), Op.EQ, attack),
                        Compare(InData(("deep", attack)), Op.EQ, number),
                    )
                )
            )
            for filters in ({"source_groups": [attack]}, {"extraction_types": [attack]}, {"where": wanted}):
                for query in (attack, f"river {attack}"):
                    body: dict[str, Any] = {"query": query, "limit": 100, **filters}
                    found = filled.items(filled.client.post(path, json=body))
                    some += len(found)
                    assert {hit["extraction"]["source"]["uri"] for hit in found} <= {attack}
    assert some > len(ATTACKS)


def test_deleting_by_a_filter_deletes_what_comparing_finds(target: Target) -> None:
    project = "/v1/projects/deleted/extractions"
    items = [attack_item(attack, number) for number, attack in enumerate(ATTACKS)]
    assert target.client.post(project, json={"extractions": items}).is_success
    left = len(items)
    for number, item in enumerate(items):
        attack, key = item["source_uri"], ("source_groups", "extraction_types", "where")[number % 3]
        condition = write_where_json(Compare(InData((attack,)), Op.EQ, attack))
        filters = {key: condition if key == "where" else [attack]}
        with target.unharmed("extractions", "extraction_words", "jobs", "projects", "ledger"):
            answer = target.client.post(f"{project}/delete", json={"filters": filters})
        left -= 1
        assert answer.json()["deleted"] == 1, (answer.text, attack)
        assert len(target.items(target.client.get(project, params={"limit": 1000}))) == left


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None)
@given(key=SENT, value=SENT, label=SENT)
def test_any_text_is_compared_as_it_stands(target: Target, key: str, value: str, label: str) -> None:
    item = raw_item(
        0, extraction_type=label, source_group=label, source_uri=label, data={"text": "x", key: value}
    )
    [id_] = [
        each["id"]
        for each in target.client.post("/v1/projects/any/extractions", json={"extractions": [item]}).json()[
            "items"
        ]
    ]
    with target.unharmed():
        for params in (
            {"extraction_types": label},
            {"source_groups": label},
            {"where": write_where(Compare(InData((key,)), Op.EQ, value))},
        ):
            found = target.items(
                target.client.get("/v1/projects/any/extractions", params={**params, "limit": 1000})
            )
            assert id_ in [each["id"] for each in found]
            assert all(
                each["extraction_type"] == label
                if "extraction_types" in params
                else each["source"]["group"] == label
                if "source_groups" in params
                else each["data"].get(key) == value
                for each in found
            )


def test_a_type_of_job_is_a_label_like_any(target: Target) -> None:
    with target.unharmed():
        for attack in ATTACKS:
            assert target.items(target.client.get("/v1/jobs", params={"type": attack})) == []
            if "/" not in attack:  # a path is parted there, however it is quoted
                path = f"/v1/job-types/{quote(attack, safe='')}"
                for step in ("pause", "resume"):
                    answer = target.client.post(f"{path}/{step}")
                    assert (answer.status_code, answer.json()["field"]) == (422, "type")
                assert target.client.get("/v1/job-types").json() == {"paused": []}


# --- every parameter there is ---------------------------------------------------------------------

DEFAULTS = Settings.model_validate({})
DOCUMENT = create_app(create_container(DEFAULTS), options_of(DEFAULTS)).openapi()
FITTING = {
    "name": "papers",
    "extraction_id": "00000000-0000-5000-8000-000000000000",
    "job_id": "00000000-0000-4000-8000-000000000000",
    "source_id": "00000000-0000-5000-8000-000000000000",
    "run": "none",
    "type": "embed",
}
HEADERS = (
    "idempotency-key",
    "x-request-id",
    "x-api-key",
    "authorization",
    "content-type",
    "accept",
    "cookie",
    "host",
)


def operations() -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Method, path, and the place and name of each parameter."""
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            given_ = [(each["in"], each["name"]) for each in operation.get("parameters", [])]
            yield method, path, [*given_, *(("header", name) for name in HEADERS)]


OPERATIONS = list(operations())


def test_no_parameter_is_left_out() -> None:
    names = {(place, name) for _, _, parameters in OPERATIONS for place, name in parameters}
    assert names >= {
        ("path", "name"),
        ("path", "extraction_id"),
        ("path", "job_id"),
        ("path", "type"),
        ("query", "type"),
        ("query", "source_groups"),
        ("query", "extraction_types"),
        ("query", "run_ids"),
        ("query", "min_confidence"),
        ("query", "max_confidence"),
        ("query", "where"),
        ("query", "limit"),
        ("query", "cursor"),
        ("query", "status"),
        ("query", "project"),
        ("path", "source_id"),
        ("path", "run"),
        ("query", "source_uris"),
        ("query", "uri_prefix"),
        ("query", "after"),
        ("query", "replace"),
        ("query", "run"),
        ("query", "indexed"),
        ("query", "set_aside"),
        ("query", "observed_at"),
        ("query", "format"),
    }


def test_no_parameter_of_any_operation_does_harm(filled: Target) -> None:
    # Types of jobs may be paused by any name; what that does is shown above. A reindex has neither
    # parameters nor a body that could be refused, and so is queued.
    asked = [each for each in OPERATIONS if each[1] != "/v1/reindex"]
    with filled.unharmed("paused_job_types"):
        for number, (method, path, parameters) in enumerate(asked):
            for place, name in parameters:
                for attack in ATTACKS[number % 8 :: 8 if place == "header" else 3]:
                    answer = _ask(filled.client, method, path, place, name, attack)
                    assert answer.status_code < 500, (method, path, place, name, attack, answer.text)
                    assert "x-injected" not in answer.headers
    for type_ in filled.client.get("/v1/job-types").json()["paused"]:
        filled.client.post(f"/v1/job-types/{quote(type_, safe='')}/resume")


def _ask(  # noqa: PLR0913, PLR0917 - each is a part of the request
    client: httpx2.Client, method: str, path: str, place: str, name: str, attack: str
) -> httpx2.Response:
    nobody = {"name": "nobody"} if method == "delete" else {}
    values = FITTING | nobody | ({name: attack} if place == "path" else {})
    url = re.sub(r"\{(\w+)\}", lambda found: quote(values[found[1]], safe=""), path)
    headers = {"content-type": "application/json"}
    if place == "header":
        # What no client can send as a header is for the fuzzer of bytes.
        headers[name] = re.sub(r"[^\x20-\x7e]", "", attack).strip()
    # The body is never valid, so a request whose parameters are accepted changes nothing.
    return client.request(
        method, url, params={name: attack} if place == "query" else None, headers=headers, content=b"[]"
    )


# --- the command line -----------------------------------------------------------------------------

ENDLESS = {"serve", "worker", "graph"}
ALL_AT_ONCE = f"a' OR 1=1; DROP TABLE jobs -- \"].$.b[*] %(x)s :id ={MARK}"


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its name."""
    group = group or typer.main.get_command(command_line)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        elif name not in ENDLESS:
            yield (*path, name), command


def texts_of(command: Any) -> list[Any]:
    """Its options and arguments that take text."""
    return [
        each
        for each in command.params
        if each.name not in {"help", "api"} and not getattr(each, "is_flag", False)
    ]


CASES = [(path, each) for path, command in commands() for each in texts_of(command)]


@pytest.mark.parametrize(
    ("path", "parameter"), CASES, ids=lambda value: getattr(value, "name", None) or " ".join(value)
)
def test_no_option_of_any_command_does_harm(
    path: tuple[str, ...], parameter: Any, tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_empty_place(tmp_path, monkeypatch)
    for name, value in {
        "DATABASE_URL": sqlite_url,
        "QDRANT_MODE": "memory",
        "EMBEDDING_PROVIDER": "deterministic",
    }.items():
        monkeypatch.setenv(name, value)
    command = dict(commands())[path]
    sent: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_others: object) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        arguments = [argument for each in command.params for argument in _given(each, parameter)]
        arguments += ["--minutes=0.05"] if path == ("chaos",) and parameter.name != "minutes" else []
        context = CliContext(None, open_parts, draw_graph, _never, _never)
        done = CliRunner().invoke(command_line, [*path, *arguments], obj=context)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert isinstance(done.exception, SystemExit | None), (arguments, done.exception)
    assert done.exit_code in {0, 1, 2}, (arguments, done.output)
    assert [statement for statement in sent if MARK in statement] == []


def _never(*_: object) -> None:
    raise AssertionError("it serves nothing here")


def _given(each: Any, attacked: Any) -> list[str]:
    """What stands on the command line for a parameter: the attack, or what it needs."""
    is_attacked = each.name == attacked.name  # each call that lists the commands makes them again
    if not is_attacked and not each.required:
        return []
    value = ALL_AT_ONCE if is_attacked else "papers"
    return [value] if each.param_type_name == "argument" else [f"{each.opts[0]}={value}"]
