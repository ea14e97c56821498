"""The dashboards: as their code makes them, whole, and asking for metrics that there are."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.observability.dashboards import __main__ as command
from deploy.observability.dashboards import grafana
from deploy.observability.dashboards.panel import COLUMNS, Dashboard, Panel, Query, Row
from tests.k8s.charts import CHART, ROOT, of_kind, rendered
from tests.k8s.promql import PROMETHEUS_OWN, expressions, metrics, metrics_of, panels, recorded, rules
from tests.k8s.test_rules import promtool

MODELS = {uid.uid: grafana.model(uid) for uid in command.DASHBOARDS}
each = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def test_files_are_what_the_code_makes() -> None:
    assert command.differing(command.DIRECTORY) == []
    assert command.DIRECTORY == CHART / "files" / "dashboards"


def test_a_file_that_differs_is_told_of(tmp_path: Path) -> None:
    for name, text in command.files().items():
        (tmp_path / name).write_text(text)
    assert command.differing(tmp_path) == []
    (tmp_path / "trichord-engine.json").write_text("{}")
    (tmp_path / "trichord-old.json").write_text("{}")
    (tmp_path / "trichord-scaling.json").unlink()
    assert command.differing(tmp_path) == ["trichord-engine.json", "trichord-old.json", "trichord-scaling.json"]


@each
def test_panels_do_not_overlap(model: dict[str, Any]) -> None:
    cells: list[tuple[int, int]] = []
    for panel in model["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= COLUMNS
        cells += itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in model["panels"]}) == len(model["panels"])
    assert len({panel["title"] for panel in model["panels"]}) == len(model["panels"])


def test_a_panel_that_does_not_fit_goes_to_the_next_line() -> None:
    one = [Panel(str(n), "s", "", (Query("up"),), width=10) for n in range(3)]
    placed = grafana.model(Dashboard("u", "t", "d", (Row("r", tuple(one)),)))["panels"]
    assert [(p["gridPos"]["x"], p["gridPos"]["y"]) for p in placed] == [(0, 0), (0, 1), (10, 1), (0, 9)]


@pytest.mark.parametrize(
    ("uid", "panel"), list(panels()), ids=lambda one: one if isinstance(one, str) else one["title"]
)
def test_a_panel_says_what_it_is_and_what_to_do(uid: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 60, f"{uid}: what it shows, and what to do when it is bad"
    assert panel["description"].endswith((".", ")."))
    assert panel["targets"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for target in panel["targets"]:
        scoped = set(re.findall(r'([a-zA-Z_:][\w:]*)\{[^}]*namespace=~"\$namespace"', target["expr"]))
        assert metrics_of(target["expr"].replace("$__rate_interval", "1m")) == scoped


@each
def test_a_legend_names_labels_that_its_query_keeps(model: dict[str, Any]) -> None:
    """Otherwise it is empty, and lines cannot be told apart."""
    for panel in model["panels"]:
        for target in panel.get("targets", []):
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                kept = re.findall(r"by \(([^)]*)\)", target["expr"])
                assert not kept or any(label in names.split(", ") for names in kept), panel["title"]


@each
def test_variables_are_declared(model: dict[str, Any]) -> None:
    declared = {variable["name"] for variable in model["templating"]["list"]}
    asked = json.dumps(model["panels"])
    used = set(re.findall(r"\$\{?([a-z]+)\}?", asked))
    assert used <= declared | {"labels"}
    assert declared <= used
    assert {"datasource", "namespace"} <= declared


def test_a_modality_is_one_choice_for_all_of_its_names() -> None:
    (choice,) = [one for one in MODELS["trichord-modality"]["templating"]["list"] if one["type"] == "custom"]
    values = {option["text"]: option["value"].split("|") for option in choice["options"]}
    assert values["Vision"] == ["image", "vision", "vision-encoder", "siglip"]
    assert choice["query"].count(" : ") == len(values) == 3
    assert choice["current"]["value"] == choice["options"][0]["value"]


def test_first_tokens_lead_to_traces() -> None:
    found = {panel["title"]: panel for uid, panel in panels() if uid == "trichord-overview"}
    assert [target["exemplar"] for target in found["Time to first token"]["targets"]].count(True) == 1


def test_a_spent_budget_is_red_and_a_slow_token_too() -> None:
    found = {panel["title"]: panel["fieldConfig"]["defaults"]["thresholds"]["steps"] for _, panel in panels()}
    assert [step["color"] for step in found["Error budget left"]] == ["red", "orange", "green"]
    assert [step["value"] for step in found["Error budget left"]] == [None, 0.0, 0.5]
    assert [step["color"] for step in found["Time to first token"]] == ["green", "red"]


def test_every_expression_is_promql(tmp_path: Path) -> None:
    """Prometheus' own parser reads them, as rules."""
    asked = [{"record": f"test:expression:{number}", "expr": one.expr} for number, one in enumerate(expressions())]
    file = tmp_path / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": asked}]}))
    done = promtool("check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(asked) > len(rules()) + 80


def documented() -> dict[str, set[str]]:
    """Every metric of docs/metrics.md, which is made from the registries, and its labels."""
    rows = re.findall(
        r"^\| `([a-z]\w*)` \| \w+ \| ([^|]*) \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE
    )
    return {name: set(re.findall(r"\w+", labels)) for name, labels in rows}


def test_every_metric_is_documented() -> None:
    assert metrics() - set(documented()) == set()


SCRAPED = {"namespace", "job", "instance"}
"""Labels that Prometheus adds; ``le`` is every histogram's."""


def test_every_label_that_is_matched_is_documented() -> None:
    """A matcher on a label that a metric does not have leaves nothing, and says nothing."""
    known = documented()
    selectors = [found for one in expressions() for found in re.findall(r"([a-z]\w*)\{([^}]*)\}", one.expr)]
    assert len(selectors) > 100
    for name, matchers in selectors:
        labels = known.get(re.sub(r"_(bucket|sum|count)$", "", name), set()) | known.get(name, set())
        matched = set(re.findall(r'(\w+)(?:=~|!~|!=|=)"', matchers)) - SCRAPED - {"le"}
        assert matched <= labels or name in PROMETHEUS_OWN, name


def test_every_label_of_a_legend_is_documented() -> None:
    known = documented()
    for uid, panel in panels():
        for target in panel["targets"]:
            read = metrics_of(target["expr"].replace("$__rate_interval", "1m"))
            labels = {
                label
                for name in read
                for label in known.get(re.sub(r"_(bucket|sum|count)$", "", name), known.get(name, ()))
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels | SCRAPED, (uid, panel["title"])


def test_what_panels_ask_of_rules_is_recorded() -> None:
    asked = {name for one in expressions() for name in metrics_of(one.expr) if ":" in name}
    assert asked <= recorded()
    assert len(asked) > 10


def test_the_chart_ships_them_for_grafanas_sidecar() -> None:
    shipped = [
        one for one in of_kind(rendered(), "ConfigMap").values() if "grafana_dashboard" in one["metadata"]["labels"]
    ]
    assert len(shipped) == len(MODELS)
    for one in shipped:
        ((name, text),) = one["data"].items()
        assert json.loads(text) == MODELS[name.removesuffix(".json")]
        assert one["metadata"]["annotations"] == {"grafana_folder": "Trichord"}
    values = {"monitoring": {"dashboards": {"enabled": False}}}
    assert not [name for name in of_kind(rendered(values=values), "ConfigMap") if "dashboard" in name]


def test_names_are_found_in_expressions() -> None:
    """The tests' own reading of PromQL."""
    expr = 'sum by (le, a) (rate(x_total{b=~"y{z}"}[5m])) / on (ns) group_left (q) w:x:y > 1.5e6 and up unless on(i) v'
    assert metrics_of(expr) == {"x_total", "w:x:y", "up", "v"}
