"""Expressions of dashboards and rules, as far as tests look into them: which metrics they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from deploy.observability.dashboards import grafana
from deploy.observability.dashboards.__main__ import DASHBOARDS
from tests.k8s.charts import CHART

RULES = CHART / "files" / "rules.yaml"
PROMETHEUS_OWN = {"up", "ALERTS"}
"""What Prometheus makes by itself."""

_STRINGS = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'")
_LABELS = re.compile(r"\{[^{}]*\}|\b(?:by|on|ignoring|without|group_left|group_right)\s*\([^()]*\)|\[[^\[\]]*\]")
_NAMES = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*\b(?!\s*\()")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "e"}


def metrics_of(expr: str) -> set[str]:
    """Names of the series that an expression reads."""
    bare = _LABELS.sub(" ", _STRINGS.sub(" ", expr))
    return {name for name in _NAMES.findall(re.sub(r"\b[0-9][0-9a-zA-Z.]*", " ", bare)) if name not in _WORDS}


class Expression(NamedTuple):
    where: str
    expr: str


def rules() -> list[dict[str, Any]]:
    """All rules of the file."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def recorded() -> set[str]:
    return {rule["record"] for rule in rules() if "record" in rule}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel, with the dashboard that it is of."""
    for dashboard in DASHBOARDS:
        yield from ((dashboard.uid, panel) for panel in grafana.model(dashboard)["panels"] if panel["type"] != "row")


def expressions() -> list[Expression]:
    """Everything that Prometheus is asked: by rules, and by panels with their variables filled in."""
    asked = [Expression(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]
    for uid, panel in panels():
        for target in panel["targets"]:
            expr = (
                target["expr"].replace("$__rate_interval", "1m").replace("$namespace", ".*").replace("$modality", "x")
            )
            asked.append(Expression(f"{uid}: {panel['title']}", expr))
    return asked


def metrics() -> set[str]:
    """Every name that a process of ours, or its Triton, must tell of; histograms by their own."""
    named = {name for one in expressions() for name in metrics_of(one.expr)}
    return {re.sub(r"_(bucket|sum|count)$", "", name) if _is_histogram(name) else name for name in named} - (
        PROMETHEUS_OWN | recorded()
    )


def _is_histogram(name: str) -> bool:
    return name.endswith("_bucket") or re.search(r"_seconds_(sum|count)$", name) is not None
