"""What is shipped for Prometheus and Grafana: promtool reads it, each rule fires and stays quiet, each name is one of ours."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.alerts import shipped
from resilience import telemetry
from tests.prometheus import ROOT, program

RULES = ROOT / "deploy/prometheus/rules.yml"
PROOFS = ROOT / "deploy/prometheus/rules.test.yml"
DASHBOARDS = sorted((ROOT / "deploy/grafana").glob("*.json"))
NAME = re.compile(r"\b(?:permission|permsite|resilience)_[a-z0-9_]+")
# Labels that Prometheus adds to what it scrapes, and those of a histogram and of its own metrics.
GIVEN = {"instance", "job", "le"}


def promtool(*arguments: str | Path, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], cwd=at, capture_output=True, text=True, check=False)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions(dashboard: Path) -> Iterator[tuple[str, str]]:
    document = json.loads(dashboard.read_text())
    for panel in document["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for annotation in document["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


def unknown(expr: str) -> set[str]:
    """Names of metrics and labels in an expression that the registry does not have."""
    named = {_base(name) for name in NAME.findall(expr)}
    wrong = {name for name in named if name not in telemetry.METRICS}
    labels = {label for name in named - wrong for label in telemetry.METRICS[name].labels}
    used = {
        label.strip() for listed in re.findall(r"\b(?:by|ignoring|on|without) \(([^)]*)\)", expr) for label in listed.split(",")
    }
    used |= {label for listed in re.findall(r"\{([^}]*)\}", expr) for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", listed)}
    return wrong | (used - labels - GIVEN if named else set())


def _base(name: str) -> str:
    base = re.sub(r"_(?:bucket|count|sum)$", "", name)
    return base if base in telemetry.METRICS and telemetry.METRICS[base].kind == "histogram" else name


def test_promtool_takes_the_rules_and_the_example():
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    done = promtool("check", "config", ROOT / "deploy/prometheus/prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_fires_and_stays_quiet():
    done = promtool("test", "rules", PROOFS.name, at=PROOFS.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    proved = [
        (test["alertname"], bool(test["exp_alerts"]))
        for each in yaml.safe_load(PROOFS.read_text())["tests"]
        for test in each["alert_rule_test"]
    ]
    assert sorted(proved) == sorted((rule["alert"], fires) for rule in rules() for fires in (True, False))


def test_the_proof_would_find_a_rule_that_never_fires(tmp_path):
    (tmp_path / "rules.yml").write_text(RULES.read_text().replace("== 2", "== 3"))
    proofs = yaml.safe_load(PROOFS.read_text())
    proofs["tests"] = [each for each in proofs["tests"] if "PermsiteBreakerOpen" in each["name"]]
    (tmp_path / "rules.test.yml").write_text(yaml.safe_dump(proofs))
    done = promtool("test", "rules", "rules.test.yml", at=tmp_path)
    assert done.returncode != 0 and "PermsiteBreakerOpen" in done.stdout + done.stderr


def test_the_rules_say_what_permsites_own_alerts_say():
    ours = {rule.name: rule for rule in shipped.RULES}
    theirs = {rule["labels"]["shipped"]: rule for rule in rules() if "shipped" in rule["labels"]}
    assert set(theirs) == set(ours)
    for name, rule in theirs.items():
        assert (rule["annotations"]["summary"], rule["labels"]["severity"]) == (ours[name].en, ours[name].severity)


def test_every_rule_has_its_line_on_the_page_it_names():
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        headings = {
            line.removeprefix("### ").lower() for line in (ROOT / page).read_text().splitlines() if line.startswith("### ")
        }
        assert anchor in headings, rule["alert"]


def test_every_name_in_the_rules_and_their_proofs_is_one_of_ours():
    assert {rule["alert"]: unknown(rule["expr"]) for rule in rules() if unknown(rule["expr"])} == {}
    series = [one["series"] for each in yaml.safe_load(PROOFS.read_text())["tests"] for one in each["input_series"]]
    assert {one: unknown(one) for one in series if unknown(one)} == {}


def test_there_are_the_four_dashboards():
    assert [path.stem for path in DASHBOARDS] == ["decisions", "overview", "platform", "resilience"]
    assert len({json.loads(path.read_text())["uid"] for path in DASHBOARDS}) == 4


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_promtool_takes_every_expression_of_a_dashboard_and_every_name_is_one_of_ours(dashboard, tmp_path):
    found = list(expressions(dashboard))
    assert len(found) > 5
    assert {title: unknown(expr) for title, expr in found if unknown(expr)} == {}
    wrapped = [
        {"record": f"dashboard:{number}", "expr": expr.replace("$__rate_interval", "1m").replace("$instance", ".+")}
        for number, (_, expr) in enumerate(found)
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": wrapped}]}))
    done = promtool("check", "rules", tmp_path / "rules.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_loads_anywhere_and_its_panels_do_not_overlap(dashboard):
    document = json.loads(dashboard.read_text())
    assert document["title"] and document["schemaVersion"] >= 36 and "id" not in document
    taken: set[tuple[int, int]] = set()
    for panel in document["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
    variables = {variable["name"] for variable in document["templating"]["list"]}
    used = set(re.findall(r"\$(\w+)", dashboard.read_text())) - {"__rate_interval", "__all"}
    assert used <= variables


@pytest.mark.parametrize(
    "expr",
    [
        "sum(permsite_nonsense)",
        "sum by (nobody) (permission_checks_total)",
        'permission_checks_total{outcom="allowed"}',
        "permission_checks_bucket",
    ],
)
def test_a_name_that_is_none_is_found(expr):
    assert unknown(expr)
