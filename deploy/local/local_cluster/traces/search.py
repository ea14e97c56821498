"""Which traces somebody looks for. Pure."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from local_cluster.traces.store import Trace

_NS_PER_MS = 1e6


class Search(BaseModel):
    """What ``GET /api/traces`` is asked for; everything is optional."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str = Field("", max_length=256, description="Words, all of which are in a trace's line.")
    errors: bool = Field(False, description="Only traces in which something failed.")
    min_ms: float = Field(0.0, ge=0, le=1e12, description="Only traces that took so long, in milliseconds.")
    limit: int = Field(100, ge=1, le=1000, description="Most traces.")

    def finds(self, trace: Trace) -> bool:
        """Whether a trace is what is looked for; letters' case makes no difference."""
        told = trace.summary
        if (self.errors and not told.num_failed) or told.end_ns - told.start_ns < self.min_ms * _NS_PER_MS:
            return False
        texts = (trace.trace_id, told.name, told.error, told.request_id, told.model, *told.services)
        line = "\n".join(texts).casefold()
        return all(word in line for word in self.text.casefold().split())
