"""Ties a measurement to the trace it was made in (OpenMetrics exemplars)."""

from __future__ import annotations

from trichord.telemetry import spans


def exemplar() -> dict[str, str] | None:
    """For ``Histogram.observe``: the current trace, if it is recorded."""
    return {"trace_id": spans.current_trace_id()} if spans.is_recorded() else None
