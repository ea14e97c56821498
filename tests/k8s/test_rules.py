"""Prometheus' rules: checked and tried out by promtool, each alert with a case in which it fires, and a runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.k8s.charts import NAMESPACE, ROOT, of_kind, rendered
from tests.k8s.promql import RULES, alerts, metrics_of, recorded, rules

CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOK = ROOT / "docs" / "operations.md"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("promtool")
    assert program, "make system installs promtool, in Debian's package prometheus"
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=240, check=False)


def test_the_file_is_rules() -> None:
    done = promtool("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_not_otherwise(cases: Path) -> None:
    done = promtool("test", "rules", str(cases))
    assert done.returncode == 0, done.stdout + done.stderr


def all_cases() -> list[dict[str, Any]]:
    return [test for path in CASES for test in yaml.safe_load(path.read_text())["tests"]]


def fired(test: dict[str, Any]) -> set[str]:
    """Names of the alerts that a test expects to fire."""
    samples = [sample for asked in test["promql_expr_test"] for sample in asked["exp_samples"]]
    return {name for sample in samples for name in re.findall(r'alertname="(\w+)"', sample["labels"])}


def namespaces(test: dict[str, Any], metrics: set[str]) -> set[str]:
    """Those in which a test has series that an alert looks at."""
    told = [series["series"] for series in test["input_series"] if series["series"].partition("{")[0] in metrics]
    return {found for series in told for found in re.findall(r'namespace="(\w+)', series)}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_has_both_cases(alert: dict[str, Any]) -> None:
    """Series on which it fires, and series of the same metrics on which it does not."""
    firing = [test for test in all_cases() if alert["alert"] in fired(test)]
    assert any({"bad", "good"} <= namespaces(test, inputs(alert["expr"])) for test in firing)


def inputs(expr: str) -> set[str]:
    """Metrics that an expression comes from, through the rules that record."""
    by_name = {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}
    named = metrics_of(expr)
    return {found for name in named for found in (inputs(by_name[name]) if name in by_name else {name})}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_says_what_it_means(alert: dict[str, Any]) -> None:
    """Named after its cause, sorted by how soon somebody must look, and with a heading of its own in the runbook."""
    told = alert["annotations"]
    assert alert["alert"].startswith("Trichord")
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(told) == {"summary", "description", "runbook_url"}
    assert told["summary"].endswith((".", ")."))
    assert told["description"].endswith(".")
    words = re.findall("[A-Z][a-z]+", alert["alert"].removeprefix("Trichord"))
    assert told["runbook_url"].partition("#")[2] == "-".join(words).lower()


def test_runbook_and_alerts_know_each_other() -> None:
    """Every alert has its heading there, every heading of an alert has one, and each says what to do."""
    chapter = RUNBOOK.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = dict(re.findall(r"^### (.+)\n\n((?:(?!^### ).*\n?)+)", chapter, re.MULTILINE))
    anchors = {heading.lower().replace(" ", "-") for heading in sections}
    assert anchors == {alert["annotations"]["runbook_url"].partition("#")[2] for alert in alerts()}
    for heading, section in sections.items():
        for part in ("**Means.**", "**Causes.**", "**Look.**", "**Do.**"):
            assert part in section, f"{heading} lacks {part}"


def test_all_metrics_are_of_one_namespace() -> None:
    """What the chart scopes to its release: no series is read without the matcher that it replaces."""
    for rule in rules():
        named = metrics_of(rule["expr"])
        scoped = set(re.findall(r'([a-zA-Z_:][\w:]*)\{namespace=~"\.\*"', rule["expr"]))
        assert named == scoped, rule.get("alert") or rule["record"]


def test_what_is_recorded_is_used() -> None:
    used = {name for rule in rules() for name in metrics_of(rule["expr"])}
    budgets = {name for name in recorded() if name.endswith(":left30d")}
    assert recorded() - used == budgets, "budgets are for people to see"
    assert len(budgets) == 2


def test_the_chart_ships_them_for_its_release(tmp_path: Path) -> None:
    values = {
        "monitoring": {
            "prometheusRule": {
                "runbookUrl": "https://wiki.example.org/run.md",
                "objectives": {"availability": 0.95, "firstToken": 0.98},
            }
        }
    }
    (shipped,) = of_kind(rendered(values=values), "PrometheusRule").values()
    expected = RULES.read_text().replace('namespace=~".*"', f'namespace="{NAMESPACE}"')
    expected = expected.replace("https://example.com/trichord/docs/operations.md", "https://wiki.example.org/run.md")
    expected = expected.replace("1 - 0.95)", "1 - 0.98)").replace("1 - 0.995)", "1 - 0.95)")
    assert shipped["spec"] == yaml.safe_load(expected)
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(shipped["spec"]))
    assert promtool("check", "rules", str(file)).returncode == 0
