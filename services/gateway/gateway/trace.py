"""The W3C trace context of a request (https://www.w3.org/TR/trace-context/): made at the edge, handed to every hop."""

from __future__ import annotations

import secrets
from typing import NamedTuple


class TraceContext(NamedTuple):
    """A request's trace; a caller's own sampling wishes are not obeyed at the edge, so it is always a new one."""

    trace_id: str
    """32 hex digits."""

    @classmethod
    def new(cls) -> TraceContext:
        """A fresh random trace."""
        return cls(secrets.token_hex(16))

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """GRPC metadata for a hop: a span of its own, not sampled (nothing records spans yet)."""
        return (("traceparent", f"00-{self.trace_id}-{secrets.token_hex(8)}-00"),)
