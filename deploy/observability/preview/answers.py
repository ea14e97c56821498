"""What a Prometheus says to the queries of a panel, in the form in which it is drawn.

Fills Grafana's variables in as Grafana would. Knows nothing of pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2

Json = dict[str, Any]
TIMEOUT_S = 30.0


class Window(NamedTuple):
    """The time that is drawn, in seconds since the epoch, and how often a line has a point."""

    start_s: int
    end_s: int
    step_s: int

    @property
    def times_s(self) -> list[int]:
        """Of the points of every line."""
        return list(range(self.start_s, self.end_s + 1, self.step_s))


class Line(NamedTuple):
    """One series."""

    legend: str
    labels: Mapping[str, str]
    values: list[float]
    """One for each time of the window; nan where there is none. Of a table: the one."""


class Answer(NamedTuple):
    """A panel, and all that is known of it."""

    panel: Json
    lines: list[Line]
    dots: list[tuple[float, float]]
    """Time and value of single measurements that a trace hangs on."""

    @property
    def is_empty(self) -> bool:
        """Whether no line has a point."""
        return all(value != value for line in self.lines for value in line.values)


class Prometheus:
    """Asks one server."""

    def __init__(self, client: httpx2.Client, scrape_interval_s: int) -> None:
        self._client, self._scrape_interval_s = client, scrape_interval_s

    def answers(self, dashboard: Json, window: Window, chosen: Mapping[str, str]) -> Iterator[Answer]:
        """One for each panel; ``chosen`` are values of variables."""
        for panel in dashboard["panels"]:
            targets = [(target, self._filled(target["expr"], window, chosen)) for target in panel.get("targets", [])]
            lines = [line for target, expr in targets for line in self._lines(target, expr, window)]
            dots = [dot for target, expr in targets if target["exemplar"] for dot in self._dots(expr, window)]
            yield Answer(panel, lines, dots)

    def get(self, what: str, **parameters: str | int) -> Any:
        """The data of one answer of the HTTP API, version 1."""
        response = self._client.get(f"/api/v1/{what}", params=parameters)
        response.raise_for_status()
        return response.json()["data"]

    def _filled(self, expr: str, window: Window, chosen: Mapping[str, str]) -> str:
        """Grafana's $__rate_interval is four scrapes, or a step and a scrape if that is longer."""
        seconds = max(4 * self._scrape_interval_s, window.step_s + self._scrape_interval_s)
        for name, value in {"__rate_interval": f"{seconds}s", "namespace": ".*", **chosen}.items():
            expr = expr.replace(f"${name}", value)
        return expr

    def _lines(self, target: Json, expr: str, window: Window) -> Iterator[Line]:
        if target["instant"]:
            for found in self.get("query", query=expr, time=window.end_s)["result"]:
                yield Line("", found["metric"], [float(found["value"][1])])
            return
        start_s, end_s, step_s = window
        for found in self.get("query_range", query=expr, start=start_s, end=end_s, step=step_s)["result"]:
            at = {int(time_s): float(value) for time_s, value in found["values"]}
            values = [at.get(time_s, float("nan")) for time_s in window.times_s]
            yield Line(legend(target["legendFormat"], found["metric"]), found["metric"], values)

    def _dots(self, expr: str, window: Window) -> Iterator[tuple[float, float]]:
        for found in self.get("query_exemplars", query=expr, start=window.start_s, end=window.end_s):
            yield from ((float(one["timestamp"]), float(one["value"])) for one in found["exemplars"])


@contextmanager
def prometheus(url: str, scrape_interval_s: int) -> Iterator[Prometheus]:
    """The server at a URL."""
    with httpx2.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False) as client:
        yield Prometheus(client, scrape_interval_s)


def legend(form: str, labels: Mapping[str, str]) -> str:
    """A line's name."""
    if form == "__auto":
        return ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), form)
