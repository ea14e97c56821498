"""Writes docs/metrics.md: every metric of every process, by where it is told. ``--check`` fails if the page is old.

Each service's front door is imported in a process of its own, and its registry read: what is defined is what is
documented. Only Triton's own metrics are written down here.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prometheus_client import REGISTRY, Metric
from prometheus_client.registry import Collector

from trichord.telemetry import build_info

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"

SERVICES = {
    "gateway": "gateway",
    "vision-encoder": "vision_encoder",
    "audio-encoder": "audio_encoder",
    "llm-decoder": "llm_decoder",
    "autoscaler": "autoscaler",
    "job-worker": "job_worker",
}
"""The package of each."""
_FRONTS = ("vision-encoder", "audio-encoder", "llm-decoder")

SECTIONS: Mapping[tuple[str, ...], str] = {
    tuple(SERVICES): "Every process",
    ("gateway",): "The gateway",
    ("gateway", "autoscaler"): "Redis, as the gateway and the autoscaler see it",
    _FRONTS: "Every front",
    _FRONTS[:2]: "The encoders' fronts",
    _FRONTS[1:2]: "The audio encoder's front",
    _FRONTS[2:]: "The decoder's front",
    ("autoscaler",): "The autoscaler",
    ("gateway", "job-worker"): "The queue and the store of jobs, as the gateway and the worker see them",
    ("job-worker",): "The worker of jobs",
}
"""What is told by exactly these services, in the order of the page."""


class Row(NamedTuple):
    """One metric."""

    name: str
    """As in a query, without ``_bucket``, ``_sum`` and ``_count`` of a histogram."""
    type: str
    labels: tuple[str, ...]
    meaning: str

    @property
    def unit(self) -> str:
        """By the end of the name."""
        for ending, unit in _UNITS.items():
            if self.name.removesuffix("_total").endswith(ending):
                return unit
        return "number"


_UNITS = {
    "_seconds": "seconds",
    "_us": "microseconds",
    "_bytes": "bytes",
    "_utilization": "0 to 1",
    "_kv_use": "0 to 1",
    "_up": "0 or 1",
    "_is_leading": "0 or 1",
    "_breaker_open": "0 or 1",
    "_info": "1",
    "_per_second": "per second",
    "_service_rate": "per second",
}

TRITONS = (
    Row("nv_inference_request_success", "counter", ("model", "version"), "Requests that were answered."),
    Row(
        "nv_inference_request_failure",
        "counter",
        ("model", "version", "reason"),
        "Requests that were not: REJECTED (too long in the queue), CANCELED, BACKEND or OTHER. "
        "Those that a full queue turns away are not among them; their callers get RESOURCE_EXHAUSTED.",
    ),
    Row("nv_inference_count", "counter", ("model", "version"), "Items that were computed."),
    Row(
        "nv_inference_exec_count",
        "counter",
        ("model", "version"),
        "Passes that they were computed in: the count of items divided by it is the mean batch.",
    ),
    Row(
        "nv_inference_pending_request_count",
        "gauge",
        ("model", "version"),
        "Requests that wait in Triton: the soonest sign of too few replicas.",
    ),
    Row("nv_inference_request_duration_us", "counter", ("model", "version"), "Time of all requests, queue included."),
    Row("nv_inference_queue_duration_us", "counter", ("model", "version"), "Time that requests waited for a batch."),
    Row("nv_inference_compute_infer_duration_us", "counter", ("model", "version"), "Time that the model computed."),
    Row("nv_gpu_utilization", "gauge", ("gpu_uuid",), "Share of time in which the GPU did something."),
    Row("nv_gpu_memory_used_bytes", "gauge", ("gpu_uuid",), "Memory of the GPU in use."),
)
"""Those that dashboards and alerts rely on, of what the manual of Triton lists under Metrics."""

_HEAD = """# Metrics

Written by `make metrics` from the definitions; do not edit. Every service answers `GET /metrics` on the address of
its setting `..._METRICS_LISTEN`, in Prometheus's text format or, with exemplars that lead to traces, in OpenMetrics. A
front's page carries its Triton's: one page a pod. Each histogram is told as `_bucket`, `_sum` and `_count`. No label
has values that clients choose.
"""
_ENGINE_HEAD = """## The decode engine

Told by the model inside the decoder's Triton once a second, and on the page of the decoder's front.
"""
_TRITON_HEAD = """## Triton's own

On each front's page, under the names that Triton gives them. OpenMetrics would have counters called `_total`, which
these are not: they are told as of unknown type, and `rate()` works all the same. The page has more; these are relied
on.
"""


def rows_of(package: str) -> list[Row]:
    """What the process of a package tells. Imports it: once in a process."""
    importlib.import_module(f"{package}.__main__")
    build_info.tell(package)
    collectors = list(REGISTRY._collector_to_names)  # nothing public tells the labels of what was not observed yet
    rows = [row for collector in collectors for row in _rows(collector)]
    if page := sys.modules.get("trichord.triton.metrics_page"):
        rows += [_row(metric) for metric in page.TritonPage("").describe()]
    return rows


def _rows(collector: Collector) -> Iterable[Row]:
    labels = tuple(getattr(collector, "_labelnames", ()))
    return [_row(metric, labels) for metric in collector.collect()]


def _row(metric: Metric, labels: tuple[str, ...] = ()) -> Row:
    told = {name for sample in metric.samples for name in sample.labels} - {"le"}
    labels = labels or tuple(getattr(metric, "_labelnames", ())) or tuple(sorted(told))
    name = f"{metric.name}_total" if metric.type == "counter" else metric.name
    name = f"{metric.name}_info" if metric.type == "info" else name
    return Row(name, metric.type, labels, metric.documentation)


def engine_rows() -> Iterator[Row]:
    """What the decode engine adds to its Triton's page."""
    from llm_decoder.metrics import COUNTERS, GAUGES

    for field, meaning in GAUGES.items():
        yield Row(f"trichord_engine_{field}", "gauge", (), meaning)
    for field, meaning in COUNTERS.items():
        yield Row(f"trichord_engine_{field}_total", "counter", (), meaning)


def rows_by_service() -> dict[str, list[Row]]:
    """What each service tells, asked in processes of their own."""
    asked = {
        service: subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "scripts.metrics_docs", "--of", package], stdout=subprocess.PIPE, cwd=PAGE.parents[1]
        )
        for service, package in SERVICES.items()
    }
    return {service: _read(process) for service, process in asked.items()}


def _read(process: subprocess.Popen[bytes]) -> list[Row]:
    answer, _ = process.communicate()
    if process.returncode:
        raise SystemExit("a service cannot be imported")
    return [Row(name, kind, tuple(labels), meaning) for name, kind, labels, meaning in json.loads(answer)]


def page(told: Mapping[str, Sequence[Row]]) -> str:
    """The whole page."""
    services_of: dict[Row, tuple[str, ...]] = {}
    for service, rows in told.items():
        for row in rows:
            services_of[row] = (*services_of.get(row, ()), service)
    parts = [_HEAD]
    for services, title in SECTIONS.items():
        parts.append(f"## {title}\n\n" + _table(row for row in services_of if services_of[row] == services))
    homeless = [row.name for row, services in services_of.items() if services not in SECTIONS]
    if homeless:
        raise SystemExit(f"no section is for the services that tell {', '.join(homeless)}")
    parts += [f"{_ENGINE_HEAD}\n{_table(engine_rows())}", f"{_TRITON_HEAD}\n{_table(TRITONS)}"]
    return "\n".join(parts)


def _table(rows: Iterable[Row]) -> str:
    lines = ["| Metric | Type | Labels | Unit | Meaning |", "| --- | --- | --- | --- | --- |"]
    for row in sorted(rows):
        labels = ", ".join(f"`{label}`" for label in row.labels)
        lines.append(
            f"| `{row.name}` | {row.type} | {labels} | {row.unit} | {row.meaning.replace('|', chr(92) + '|')} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> None:
    """See the module."""
    if arguments[:1] == ["--of"]:
        json.dump(rows_of(arguments[1]), sys.stdout)
        return
    written = page(rows_by_service())
    if "--check" not in arguments:
        PAGE.write_text(written)
    elif not PAGE.exists() or PAGE.read_text() != written:
        raise SystemExit("docs/metrics.md is not what the code defines: run make metrics and commit")


if __name__ == "__main__":
    main(sys.argv[1:])
