"""The files for deploying the service, checked as far as possible without a container engine."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.command_lines import parse
from support.dockerfile import instructions, last_stage, of, variables
from support.packages import build_only
from support.settings import KEYS, variable

from app.config import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose.yaml"
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
GUIDE = ROOT / "docs" / "deploy.md"
VARIABLES = {variable(key) for key in KEYS}
SECTIONS = {key.partition(".")[0].upper() for key in KEYS}
PINNED = re.compile(r"^[\w./-]+:v?\d+\.\d+(\.\d+)?(-[\w.]+)*$")


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return document


SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("agent-storage:")}


def ours(names: Iterator[str] | list[str] | set[str]) -> set[str]:
    """Those names of variables that look like settings."""
    return {name for name in names if name.partition("_")[0] in SECTIONS and "_" in name}


# --- compose --------------------------------------------------------------------------------------


def test_all_services_are_there() -> None:
    assert set(SERVICES) == {
        "postgres",
        "qdrant",
        "migrate",
        "api",
        "worker-1",
        "worker-2",
        "prometheus",
        "grafana",
    }
    assert set(OURS) == {"migrate", "api", "worker-1", "worker-2"}


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert PINNED.match(image) or name in OURS, image


def test_the_image_is_built_and_named_with_the_same_version() -> None:
    assert {service["image"] for service in OURS.values()} == {
        "agent-storage:${AGENT_STORAGE_VERSION:-unreleased}"
    }
    assert [service["build"] for service in OURS.values()] == [
        {"context": ".", "args": {"VERSION": "${AGENT_STORAGE_VERSION:-}"}}
    ] * len(OURS)


def test_qdrant_is_of_the_series_that_its_client_is_for() -> None:
    locked = re.search(r"(?m)^qdrant-client==(\d+\.\d+)\.", (ROOT / "requirements.lock").read_text())
    assert locked
    assert SERVICES["qdrant"]["image"].startswith(f"qdrant/qdrant:v{locked[1]}.")


def mounts() -> Iterator[tuple[str, str, str]]:
    for name, service in SERVICES.items():
        for mount in service.get("volumes", []):
            source, _, target = mount.partition(":")
            yield name, source, target


def test_every_mounted_file_exists_and_every_volume_is_declared() -> None:
    for _, source, _ in mounts():
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in compose()["volumes"], source
    assert {source for _, source, _ in mounts() if not source.startswith(".")} == set(compose()["volumes"])


def test_every_network_and_secret_is_declared() -> None:
    document = compose()
    for service in SERVICES.values():
        assert set(service["networks"]) <= set(document["networks"])
        assert set(service.get("secrets", [])) <= set(document["secrets"])


def test_what_prometheus_is_told_of_is_there() -> None:
    (job,) = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for group in job["static_configs"] for target in group["targets"]]
    assert {target.partition(":")[0] for target in targets} == {"api", "worker-1", "worker-2"}
    for name in ("worker-1", "worker-2"):
        assert f"{name}:{SERVICES[name]['environment']['WORKER_PORT']}" in targets
    key = Path(job["authorization"]["credentials_file"])
    assert key.parent == Path("/run/secrets")
    assert key.name in SERVICES["prometheus"]["secrets"]
    assert "api:8000" in targets


def test_only_loopback_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize(
    "name", ["POSTGRES_PASSWORD", "API_API_KEYS", "PROMETHEUS_API_KEY", "GRAFANA_PASSWORD"]
)
def test_nothing_starts_without_a_secret(name: str) -> None:
    text = COMPOSE.read_text()
    assert f"${{{name}:?" in text
    assert re.search(rf"\$\{{{name}(?!:\?)", text) is None
    assert re.search(rf"(?m)^{name}=$", (ROOT / "deploy" / "env.example").read_text())


def test_the_example_of_the_environment_has_every_variable() -> None:
    wanted = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    given = re.findall(r"(?m)^(\w+)=", (ROOT / "deploy" / "env.example").read_text())
    assert sorted(given) == sorted(wanted)


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_can_do_little(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) > Settings().worker.shutdown_timeout


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_gains_privileges_or_has_the_hosts(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not set(service) & {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"}
    assert not any("docker.sock" in str(mount) for mount in service.get("volumes", []))


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_writes_to_memory_alone(name: str) -> None:
    assert set(OURS[name]["tmpfs"]) == {"/tmp", "/data"}  # noqa: S108 - inside the container
    assert "volumes" not in OURS[name]


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_a_container_are_settings_and_agree(name: str) -> None:
    environment: dict[str, str] = OURS[name]["environment"]
    assert ours(set(environment)) <= VARIABLES
    given: dict[str, dict[str, str]] = {}
    for variable_name in ours(set(environment)):
        section, _, field = variable_name.lower().partition("_")
        given.setdefault(section, {})[field] = re.sub(
            r"\$\{\w+(:-?(\w+)|:\?.*?)\}", r"\2", environment[variable_name]
        )
    given["api"]["api_keys"] = "one-of-16-letters,another-of-16-letters"
    settings = Settings.model_validate(given)
    assert settings.qdrant.mode == "server"
    assert settings.database_url.startswith("postgresql")


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"migrate", "api"}))
def test_a_service_says_how_it_is(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_the_schema_is_up_to_date_before_anything_of_ours_starts() -> None:
    assert SERVICES["migrate"]["command"] == ["db", "upgrade"]
    for name in ("api", "worker-1", "worker-2"):
        waits = SERVICES[name]["depends_on"]
        assert waits["migrate"] == {"condition": "service_completed_successfully"}
        assert waits["postgres"] == waits["qdrant"] == {"condition": "service_healthy"}


# --- the image ------------------------------------------------------------------------------------


def test_the_base_is_pinned() -> None:
    bases = [rest.split()[0] for rest in of("FROM")]
    assert [base for base in bases if not PINNED.match(base) or "slim" not in base] == []
    assert len(set(bases)) == 1


def test_the_locked_versions_are_installed() -> None:
    (locked,) = [run for run in of("RUN") if "requirements.lock" in run]
    assert "--require-hashes" in locked
    assert all("--no-deps" in run for run in of("RUN") if "pip --python" in run and run != locked)


def ignored(path: str) -> bool:
    """Whether the .dockerignore, of the form this one has, leaves a file at the top out."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    return f"!{path}" not in patterns


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    copied = [part for rest in of("COPY") if "--from" not in rest for part in rest.split()[:-1]]
    assert "app" in copied
    for part in copied:
        assert (ROOT / part).exists(), part
        assert not ignored(part), part


def test_what_the_build_reads_is_copied() -> None:
    copied = {part for rest in of("COPY") for part in rest.split()[:-1]}
    assert {"pyproject.toml", "README.md", "LICENSE", "containers.py", "app"} <= copied


def test_the_user_is_not_root() -> None:
    (user,) = last_stage("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert any(f"--uid {user.partition(':')[0]}" in rest for rest in last_stage("RUN"))


def test_the_first_process_is_an_init_that_is_installed() -> None:
    (entry,) = last_stage("ENTRYPOINT")
    assert json.loads(entry) == ["tini", "--", "agent-storage"]
    (installed,) = [rest for rest in last_stage("RUN") if "apt-get install" in rest]
    assert re.search(r"--no-install-recommends tini\b", installed)
    assert "rm -rf /var/lib/apt/lists/*" in installed
    assert last_stage("STOPSIGNAL") == ["SIGTERM"]
    assert not any("init" in service for service in OURS.values()), "a second init"


def test_the_build_is_given_the_version_and_its_tools_do_not_stay() -> None:
    (own,) = [rest for rest in of("RUN") if "--no-deps" in rest]
    assert "SETUPTOOLS_SCM_PRETEND_VERSION_FOR_AGENT_STORAGE=$VERSION pip" in re.sub(r"\s+", " ", own)
    places = [word for word, rest in instructions() if (word, rest) == ("ARG", "VERSION=") or rest == own]
    assert places == ["ARG", "RUN"]
    removed = re.search(r"uninstall --yes ([\w -]+?) *&&", own)
    assert removed
    assert set(removed[1].split()) == build_only()


def test_the_health_is_asked_of_the_api() -> None:
    (check,) = of("HEALTHCHECK")
    command = json.loads(check[check.index("CMD") + 3 :])
    assert command[:2] == ["python", "-c"]
    assert "/health/live" in command[2]
    compile(command[2], "healthcheck", "exec")


def test_the_data_lies_in_the_volume() -> None:
    environment = variables()
    assert ours(set(environment)) <= VARIABLES
    assert environment["DATABASE_URL"].startswith("sqlite:////data/")
    assert environment["QDRANT_PATH"].startswith("/data/")
    assert of("VOLUME") == ["/data"]


# --- systemd --------------------------------------------------------------------------------------


def unit(path: Path) -> dict[str, str]:
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # the documented way to keep upper case
    parser.read(path)
    return dict(parser["Service"])


def test_the_units_are_there() -> None:
    assert [path.name for path in UNITS] == [
        "agent-storage-api.service",
        "agent-storage-worker@.service",
        "agent-storage.service",
    ]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    paths = []
    for path in UNITS:
        # It wants the program to be there.
        text = path.read_text().replace(
            "/opt/agent-storage/bin/agent-storage", shutil.which("true") or "/bin/true"
        )
        (tmp_path / path.name).write_text(text)
        paths.append(str(tmp_path / path.name.replace("@.", "@1.")))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths],  # noqa: S607 - found by PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_stops_in_time_and_can_do_little(path: Path) -> None:
    service = unit(path)
    assert service["User"] == "agent-storage"
    assert service["Restart"] == "on-failure"
    assert service["KillSignal"] == "SIGTERM"
    assert int(service["TimeoutStopSec"]) > Settings().worker.shutdown_timeout
    assert service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert {service[name] for name in ("ProtectHome", "PrivateTmp", "PrivateDevices", "PrivateUsers")} == {
        "yes"
    }
    assert re.findall(r"(?m)^SystemCallFilter=(.+)$", path.read_text()) == ["@system-service", "~@privileged"]
    assert service["EnvironmentFile"] == "/etc/agent-storage/agent-storage.env"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_the_settings_of_a_unit_are_settings(path: Path) -> None:
    assert set(re.findall(r"(?m)^Environment=(\w+)=", path.read_text())) <= VARIABLES


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_finds_little_that_a_unit_could_do(path: Path) -> None:
    """At most 14 of 100 points of exposure; most of them are for the network that it needs."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=14", "--no-pager", path],  # noqa: S607 - found by PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


# --- command lines --------------------------------------------------------------------------------


def written_commands() -> Iterator[tuple[str, str]]:
    """Every command line of the program that is written down, with where."""
    for name, service in OURS.items():
        yield f"compose.yaml {name}", shlex.join(service["command"])
    yield "Dockerfile", shlex.join(json.loads(of("CMD")[0]))
    for path in UNITS:
        program, _, arguments = unit(path)["ExecStart"].partition(" ")
        assert program == "/opt/agent-storage/bin/agent-storage"
        yield path.name, arguments
    for code in _code(GUIDE.read_text()):
        if found := re.search(r"(?:^|[\s/])agent-storage ([a-z][^#]*)$", code):
            yield GUIDE.name, found[1]
        if found := re.search(r"docker compose (?:run --rm|exec) api ([a-z].*)$", code):
            yield GUIDE.name, found[1].removeprefix("agent-storage ")


def _code(markdown: str) -> list[str]:
    """Return inline code, and the lines of fenced blocks, joined where a backslash ends them."""
    joined = markdown.replace("\\\n", " ")
    fence = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    blocks = [line.strip() for block in fence.findall(joined) for line in block.splitlines()]
    return blocks + re.findall(r"`([^`\n]+)`", fence.sub("", joined))


COMMANDS = sorted(set(written_commands()))


def test_the_guide_shows_commands() -> None:
    written = {command for place, command in COMMANDS if place == GUIDE.name}
    assert {"serve", "serve --workers 0", "worker", "db upgrade", "verify --repair", "reindex"} <= written


@pytest.mark.parametrize(
    "command", [pytest.param(command, id=f"{place}: {command}") for place, command in COMMANDS]
)
def test_the_program_knows_the_command(command: str) -> None:
    parse(shlex.split(command))


@pytest.mark.parametrize("command", ["serv", "serve --worker 0", "db upgrad", "worker --port x", "verify now"])
def test_a_command_it_does_not_know_would_be_found(command: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|unexpected"):
        parse(shlex.split(command))


def test_every_setting_in_the_guide_is_one() -> None:
    text = GUIDE.read_text()
    named = set(re.findall(r"\b([A-Z]+_[A-Z_]+)\b", text))
    assert ours(named) <= VARIABLES
    sections = "|".join(section.lower() for section in SECTIONS)
    keys = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", text))
    assert keys
    assert keys <= set(KEYS)


@pytest.mark.parametrize("path", re.findall(r"\]\(\.\./([^)]+)\)", GUIDE.read_text()))
def test_what_the_guide_points_to_exists(path: str) -> None:
    assert (ROOT / path).exists()
