"""Every metric of every process: named as the field names them, explained, and on the page of metrics."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from scripts import metrics_docs
from scripts.metrics_docs import SERVICES, TRITONS, Row

THE_LIBRARYS = ("process_", "python_")
BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_tokens")
NO_UNITS = re.compile(r"_(s|ms|us|ns|millis|milliseconds|minutes|kb|mb|mib|percent|pct)(_total)?$")
UNBOUNDED = {"tenant", "user", "key", "model", "url", "path", "target", "request_id", "trace_id", "message", "replica"}
"""What clients choose, or what there may be any number of."""


@pytest.fixture(scope="module")
def told() -> Mapping[str, Sequence[Row]]:
    return metrics_docs.rows_by_service()


@pytest.fixture(scope="module")
def ours(told: Mapping[str, Sequence[Row]]) -> Sequence[Row]:
    rows = {row for rows in told.values() for row in rows if not row.name.startswith(THE_LIBRARYS)}
    return sorted([*rows, *metrics_docs.engine_rows()])


def test_the_page_is_what_the_code_defines(told: Mapping[str, Sequence[Row]]) -> None:
    assert metrics_docs.PAGE.read_text() == metrics_docs.page(told), "run make metrics"


def test_the_check_fails_on_an_old_page(
    told: Mapping[str, Sequence[Row]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(metrics_docs, "rows_by_service", lambda: told)
    monkeypatch.setattr(metrics_docs, "PAGE", tmp_path / "metrics.md")
    with pytest.raises(SystemExit, match="make metrics"):
        metrics_docs.main(["--check"])
    metrics_docs.main([])
    metrics_docs.main(["--check"])
    assert metrics_docs.PAGE.read_text().startswith("# Metrics\n")
    with metrics_docs.PAGE.open("a") as page:
        page.write("\n")
    with pytest.raises(SystemExit, match="make metrics"):
        metrics_docs.main(["--check"])


def test_every_service_tells_its_own(told: Mapping[str, Sequence[Row]]) -> None:
    own = {
        "gateway": "trichord_requests_total",
        "vision-encoder": "trichord_encoded_units_total",
        "audio-encoder": "trichord_encoded_audio_seconds_total",
        "llm-decoder": "trichord_generate_inter_token_seconds",
        "autoscaler": "trichord_autoscaler_desired_replicas",
        "job-worker": "trichord_jobs_items_ended_total",
    }
    for service, name in own.items():
        names = {row.name for row in told[service]}
        assert {name, "rpc_server_call_duration_seconds", "trichord_build_info"} <= names
    assert "trichord_triton_up" not in {row.name for row in told["gateway"]}


def test_names_say_what_they_count(ours: Sequence[Row]) -> None:
    assert len(ours) > 50
    for name, kind, *_ in ours:
        assert re.fullmatch(r"(trichord|gen_ai|rpc|http)_[a-z0-9]+(_[a-z0-9]+)*", name), name
        assert not NO_UNITS.search(name), f"{name} is in no base unit"
        assert name.endswith("_total") == (kind == "counter"), name
        if kind in ("histogram", "summary"):
            assert name.endswith(BASE_UNITS), f"{name} has no unit"


def test_every_meaning_is_a_sentence(ours: Sequence[Row]) -> None:
    for row in (*ours, *TRITONS):
        assert re.fullmatch(r"[A-Z0-9].{3,}\.", row.meaning), f"{row.name}: {row.meaning!r}"
        assert row.unit


def test_no_label_has_values_without_bound(ours: Sequence[Row]) -> None:
    assert [(row.name, label) for row in ours for label in row.labels if label in UNBOUNDED] == []


@pytest.mark.parametrize("package", SERVICES.values())
def test_promtool_finds_nothing_wrong(package: str) -> None:
    code = f"import {package}.__main__, prometheus_client as p; print(p.generate_latest().decode(), end='')"
    page = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert b"trichord_event_loop_lag_seconds" in page
    found = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (found.returncode, found.stdout + found.stderr) == (0, b"")
