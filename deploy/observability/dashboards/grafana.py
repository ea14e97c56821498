"""A dashboard's JSON, as Grafana takes it from a file (11 and later). Pure; knows no metric.

https://grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from string import ascii_uppercase
from typing import Any

from deploy.observability.dashboards.panel import COLUMNS, Choice, Dashboard, Panel, Query, Row

SCHEMA_VERSION = 39
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
HEIGHTS = {"timeseries": 8, "table": 5, "stat": 5}
ROW_HEIGHT = 1

Json = dict[str, Any]


def text(dashboard: Dashboard) -> str:
    """The file: the same for the same dashboard, whenever it is made."""
    return json.dumps(model(dashboard), indent=1, ensure_ascii=False) + "\n"


def model(dashboard: Dashboard) -> Json:
    """The JSON model."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["trichord"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [
            {
                "type": "dashboards",
                "title": "Trichord",
                "tags": ["trichord"],
                "asDropdown": True,
                "keepTime": True,
                "includeVars": True,
            }
        ],
        "templating": {"list": [_datasource(), _namespace(), *map(_choice, dashboard.choices)]},
        "annotations": {"list": [_alerts()]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_placed(dashboard.rows), 1)],
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    """Every row's title, and below it its panels, line by line."""
    top = 0
    for row in rows:
        yield {
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": _at(0, top, COLUMNS, ROW_HEIGHT),
        }
        top += ROW_HEIGHT
        for line in _lines(row.panels):
            left, height = 0, max(HEIGHTS[panel.kind] for panel in line)
            for panel in line:
                yield {**_panel(panel), "gridPos": _at(left, top, panel.width, height)}
                left += panel.width
            top += height


def _lines(panels: Sequence[Panel]) -> Iterator[list[Panel]]:
    line: list[Panel] = []
    for panel in panels:
        if line and sum(one.width for one in line) + panel.width > COLUMNS:
            yield line
            line = []
        line.append(panel)
    yield line


def _at(left: int, top: int, width: int, height: int) -> Json:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "targets": [
            _target(letter, query, panel) for letter, query in zip(ascii_uppercase, panel.queries, strict=False)
        ],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(letter: str, query: Query, panel: Panel) -> Json:
    is_instant = panel.kind == "table"
    return {
        "refId": letter,
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "exemplar": query.exemplars,
        "instant": is_instant,
        "range": not is_instant,
        "format": "table" if is_instant else "time_series",
    }


def _defaults(panel: Panel) -> Json:
    steps = [
        {"value": None, "color": panel.lowest},
        *({"value": value, "color": color} for value, color in panel.steps),
    ]
    scale: Json = {} if panel.most is None else {"max": panel.most}
    drawn: Json = {"custom": _lines_drawn(panel)} if panel.kind == "timeseries" else {}
    return {"unit": _unit(panel.unit), "min": 0, **scale, "thresholds": {"mode": "absolute", "steps": steps}, **drawn}


def _unit(unit: str) -> str:
    """Grafana's own units as they are; a word of ours is a suffix."""
    return f"suffix: {unit}" if " " in unit or unit.endswith("s/s") or unit == "cores" else unit


def _lines_drawn(panel: Panel) -> Json:
    stacking = {"mode": "normal" if panel.is_stacked else "none", "group": "A"}
    limit = {"mode": "dashed" if panel.steps else "off"}
    return {
        "lineWidth": 1,
        "fillOpacity": 30 if panel.is_stacked else 8,
        "showPoints": "never",
        "stacking": stacking,
        "thresholdsStyle": limit,
    }


def _options(panel: Panel) -> Json:
    match panel.kind:
        case "timeseries":
            return {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "stat":
            return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return {"showHeader": True}


def _datasource() -> Json:
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"}


def _namespace() -> Json:
    """All of them also where Prometheus knows no Kubernetes, and so no such label."""
    query = "label_values(trichord_build_info, namespace)"
    return {
        "type": "query",
        "name": "namespace",
        "label": "Namespace",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": "namespace"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _choice(choice: Choice) -> Json:
    options = [
        {"text": name, "value": value, "selected": not number} for number, (name, value) in enumerate(choice.options)
    ]
    return {
        "type": "custom",
        "name": choice.name,
        "label": choice.label,
        "query": ",".join(f"{name} : {value}" for name, value in choice.options),
        "options": options,
        "current": {key: options[0][key] for key in ("text", "value")},
        "multi": False,
        "includeAll": False,
    }


def _alerts() -> Json:
    """Marks in every picture where an alert began to fire."""
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": "red",
        "datasource": DATASOURCE,
        "expr": 'ALERTS{alertname=~"Trichord.*",alertstate="firing",namespace=~"$namespace"}',
        "titleFormat": "{{alertname}}",
        "step": "60s",
    }
