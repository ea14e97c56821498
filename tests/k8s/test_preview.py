"""The dashboards' pictures: numbers, legends and lines as Grafana has them; and a real Prometheus with our rules."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from deploy.observability.dashboards import grafana
from deploy.observability.dashboards.__main__ import DASHBOARDS
from deploy.observability.preview import scraping
from deploy.observability.preview.answers import Answer, Line, Window, legend, prometheus
from deploy.observability.preview.drawing import MAX_LEGEND_LINES, draw, flowed
from deploy.observability.preview.units import written
from local_cluster.state import ProcessState
from tests.conftest import free_ports
from tests.k8s.promql import rules
from trichord.telemetry.metrics_port import metrics_port

WINDOW = Window(1000, 1060, 5)
EMPTY, HALF = [math.nan] * 13, [math.nan] * 6 + [0.5] * 7


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (0.0, "s", "0 s"),
        (0.0, "percentunit", "0%"),
        (0.00125, "s", "1.25 ms"),
        (90.0, "s", "1.5 min"),
        (1500.0, "µs", "1.5 ms"),
        (0.256, "percentunit", "25.6%"),
        (-0.5, "percentunit", "-50%"),
        (3 * 2**20, "bytes", "3 MiB"),
        (1234.0, "short", "1.23 K"),
        (0.5, "reqps", "0.5 req/s"),
        (2000.0, "suffix: tokens/s", "2 K tokens/s"),
    ],
)
def test_numbers_are_written_with_their_units(value: float, unit: str, words: str) -> None:
    assert written(value, unit) == words


def test_a_legend_is_a_form_or_all_labels() -> None:
    labels = {"__name__": "up", "job": "gateway", "state": "usable"}
    assert legend("{{job}} is {{state}}{{other}}", labels) == "gateway is usable"
    assert legend("__auto", labels) == "job=gateway, state=usable"


def test_entries_of_a_legend_do_not_meet_and_what_does_not_fit_is_counted() -> None:
    words = [f"INVALID_ARGUMENT {number}" for number in range(40)]
    placed = flowed(words, 440)
    assert [line for _, line, _ in placed] == sorted(line for _, line, _ in placed)
    assert max(line for _, line, _ in placed) == MAX_LEGEND_LINES - 1
    assert len({(left, line) for left, line, _ in placed}) == len(placed)
    assert placed[-1][2] == f"and {len(words) - len(placed) + 1} more"
    assert flowed(words[:2], 440) == [(0.0, 0, words[0]), (placed[1][0], 0, words[1])]


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_a_picture_has_every_panel(dashboard: grafana.Dashboard, tmp_path: Path) -> None:
    """Those with a line differ from those without any."""
    model, files = grafana.model(dashboard), [tmp_path / "full.png", tmp_path / "empty.png"]
    for values, file in zip((HALF, EMPTY), files, strict=True):
        answers = [Answer(panel, [Line("a", {"a": "b"}, values)], [(1010.0, 0.1)]) for panel in model["panels"]]
        assert all(answer.is_empty == (values is EMPTY) for answer in answers)
        draw(model, answers, WINDOW, file)
    full, empty = (Image.open(file).convert("RGB") for file in files)
    assert full.size == empty.size
    for panel in model["panels"]:
        at = panel["gridPos"]
        width, height = (
            full.width / 24,
            (full.height - 50) / max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in model["panels"]),
        )
        box = tuple(
            map(
                int,
                (
                    at["x"] * width + 9,
                    50 + (at["y"] + 1) * height,
                    (at["x"] + at["w"]) * width - 9,
                    50 + (at["y"] + at["h"]) * height - 9,
                ),
            )
        )
        if panel["type"] != "row":
            assert full.crop(box).tobytes() != empty.crop(box).tobytes(), panel["title"]


def test_targets_are_called_as_services_are() -> None:
    processes = [
        ProcessState(name="gateway", title="gateway", port=1, metrics_port=11, phase="ready"),
        ProcessState(name="vision-encoder-2", title="second", port=2, metrics_port=12, phase="ready"),
        ProcessState(name="vision-encoder-2-triton", title="its Triton", port=3, metrics_port=13, phase="ready"),
        ProcessState(name="audio-encoder", title="not yet", port=4, metrics_port=14, phase="starting"),
        ProcessState(name="redis-cache", title="has no page", port=5, phase="ready"),
    ]
    assert scraping.targets(processes) == [
        {"targets": ["127.0.0.1:11"], "labels": {"job": "gateway"}},
        {"targets": ["127.0.0.1:12"], "labels": {"job": "vision-encoder"}},
    ]


def test_a_real_prometheus_takes_our_rules_and_answers_as_it_is_read(tmp_path: Path) -> None:
    """This process's own page is scraped."""
    with (
        metrics_port("127.0.0.1:0") as port,
        scraping.scraping(tmp_path, f"127.0.0.1:{free_ports(1)}") as url,
        prometheus(url, scraping.INTERVAL_S) as server,
    ):
        (tmp_path / "targets.json").write_text(
            json.dumps([{"targets": [f"127.0.0.1:{port}"], "labels": {"job": "gateway"}}])
        )
        until(lambda: server.get("query", query="up == 1")["result"])
        now_s = int(time.time()) + 1
        window = Window(now_s - 60, now_s, 5)
        target = {"expr": 'up{namespace=~"$namespace",job=~"$one"}', "legendFormat": "{{job}}"}
        panel = {
            "targets": [{**target, "instant": False, "exemplar": True}, {**target, "instant": True, "exemplar": False}]
        }
        (answer,) = server.answers({"panels": [panel]}, window, {"one": "gateway|other"})
        loaded = server.get("rules")["groups"]
    over_time, now = answer.lines
    assert (over_time.legend, over_time.values[-1], len(over_time.values)) == ("gateway", 1.0, 13)
    assert math.isnan(over_time.values[0])
    assert (now.labels["job"], now.values) == ("gateway", [1.0])
    assert sum(len(group["rules"]) for group in loaded) == len(rules())
    assert not [rule for group in loaded for rule in group["rules"] if rule["health"] == "err"]


def until(told: Callable[[], object]) -> None:
    """Waits until it is so."""
    given_up_s = time.monotonic() + 60
    while not told():
        assert time.monotonic() < given_up_s
        time.sleep(0.2)
