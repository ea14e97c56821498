"""The trace of a request, as its receipt names it and as every hop is told it."""

from __future__ import annotations

from typing import NamedTuple

from trichord.telemetry import spans


class TraceContext(NamedTuple):
    """A request's trace."""

    trace_id: str
    """32 hex digits."""

    @classmethod
    def new(cls) -> TraceContext:
        """That of the current span."""
        return cls(spans.current_trace_id())

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """GRPC metadata for a hop."""
        return spans.outbound()
