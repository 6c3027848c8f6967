"""The dashboard and the alerts speak of metrics that exist."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.exposition import busy_exposition, samples

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "agent-storage.json"
RULES = DEPLOY / "prometheus" / "rules.yml"
PROMETHEUS = DEPLOY / "prometheus" / "prometheus.yml"

NAME = re.compile(r"\b(?:agent_storage|process)_\w+|\bup\b")
MADE_BY_PROMETHEUS = {"up"}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def charted() -> Iterator[str]:
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"]


def variables() -> Iterator[str]:
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def names_in(expression: str) -> set[str]:
    without_labels = re.sub(r"\{[^}]*\}", "", expression)
    return set(NAME.findall(without_labels))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every exported sample, by its name."""
    found = samples(busy_exposition(tmp_path_factory.mktemp("grafana")))
    return {name: {label for labels in every for label, _ in labels} for name, every in found.items()}


def test_every_expression_names_metrics_that_exist(exported: dict[str, set[str]]) -> None:
    for expression in (*charted(), *variables(), *(alert["expr"] for alert in alerts())):
        names = names_in(expression) - MADE_BY_PROMETHEUS
        assert names or expression.startswith("up"), expression
        assert names <= exported.keys(), expression


def test_every_label_of_an_expression_exists(exported: dict[str, set[str]]) -> None:
    everywhere = {"instance", "job"}
    for expression in (*charted(), *(alert["expr"] for alert in alerts())):
        known = everywhere.union(*(exported.get(name, set()) for name in names_in(expression)))
        grouped = {label for by in re.findall(r"\bby \(([^)]*)\)", expression) for label in by.split(", ")}
        selected = set(re.findall(r"(\w+)\s*=~?\"", expression))
        assert grouped | selected <= known, expression


def test_every_metric_of_ours_is_charted(exported: dict[str, set[str]]) -> None:
    """A metric without a chart is useless."""
    seen = {name for expression in charted() for name in names_in(expression)}
    seen = {re.sub(r"_(bucket|count|sum)$", "", name) for name in seen}
    ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in exported if name.startswith("agent_storage_")}
    assert ours - seen == set()


def test_legends_name_labels_that_are_left() -> None:
    for panel in panels():
        for target in panel["targets"]:
            grouped = re.search(r"\bby \(([^)]*)\)", target["expr"])
            if grouped:
                legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                assert legend <= set(grouped[1].split(", ")), target


def test_the_dashboard_can_be_loaded() -> None:
    board = dashboard()
    assert (board["uid"], board["title"]) == ("agent-storage", "agent-storage")
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "instance"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs)), panel["title"]


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_is_told_where_everything_is() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    [source] = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["type"] == "prometheus"
    [provider] = yaml.safe_load((provisioning / "dashboards" / "agent-storage.yml").read_text())["providers"]
    assert provider["type"] == "file"


def test_prometheus_asks_every_process_with_a_key() -> None:
    [scraped] = yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    targets = [target for each in scraped["static_configs"] for target in each["targets"]]
    assert targets == ["api:8000", "worker-1:9100", "worker-2:9100"]
    assert scraped["authorization"]["type"] == "Bearer"
    assert "credentials" not in scraped["authorization"]


def test_promtool_accepts_the_configuration() -> None:
    check_with_promtool("config", PROMETHEUS, "--syntax-only")
    check_with_promtool("rules", RULES)


def test_every_charted_expression_is_promql(tmp_path: Path) -> None:
    written = [
        expression.replace("$__rate_interval", "1m").replace("$instance", ".*") for expression in charted()
    ]
    rules = [{"record": f"charted:{number}", "expr": expr} for number, expr in enumerate(written)]
    file = tmp_path / "charted.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "charted", "rules": rules}]}))
    check_with_promtool("rules", file)


def check_with_promtool(what: str, file: Path, *options: str) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool, which Debian's package prometheus has, is not on the PATH")
    checked = subprocess.run(
        [tool, "check", what, *options, file], capture_output=True, text=True, check=False, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
