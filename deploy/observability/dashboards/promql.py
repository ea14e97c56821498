"""The few forms of PromQL that panels use, each within the namespaces that are chosen. Knows no metric."""

from __future__ import annotations

WINDOW = "[$__rate_interval]"
"""Grafana's: at least four scrapes."""


def series(metric: str, labels: str = "") -> str:
    """All of a metric, or those that the matchers ``labels`` leave."""
    return f'{metric}{{namespace=~"$namespace"{"," if labels else ""}{labels}}}'


def rate(metric: str, by: str = "", labels: str = "") -> str:
    """What a counter grows by in a second, summed to one line, or one for each value of the labels ``by``."""
    return f"sum{_by(by)}(rate({series(metric, labels)}{WINDOW}))"


def quantile(share: float, histogram: str, by: str = "", labels: str = "") -> str:
    """Below which value ``share`` of a histogram's measurements are."""
    grouped = ", ".join(filter(None, (by, "le")))
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', grouped, labels)})"


def mean(histogram: str, by: str = "", labels: str = "") -> str:
    """The mean of a histogram's measurements."""
    return ratio(rate(f"{histogram}_sum", by, labels), rate(f"{histogram}_count", by, labels))


def ratio(part: str, whole: str) -> str:
    """One rate for each of another."""
    return f"{part} / {whole}"


def total(gauge: str, by: str = "", labels: str = "") -> str:
    """A gauge, summed over all that report it."""
    return f"sum{_by(by)}({series(gauge, labels)})"


def largest(gauge: str, by: str = "", labels: str = "") -> str:
    """A gauge that all report of the same thing."""
    return f"max{_by(by)}({series(gauge, labels)})"


def short_methods(expr: str) -> str:
    """The label ``rpc_method`` without its package, so that legends can be read: OmniService/Chat."""
    return f'label_replace({expr}, "rpc_method", "$1", "rpc_method", ".+[.](.+)")'


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
