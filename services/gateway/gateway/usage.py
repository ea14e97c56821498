"""One usage event for each live chat that a decoder worked for: who pays, and what for.

Of an answer that finished it is exactly the usage that the last event told. Whoever leaves earlier, or is out of time,
pays for what it had taken until then, marked as broken off: else answers would be free to who leaves before their end.
For what failed or was refused nobody pays. What a worker asks for on behalf of a tenant has no event here: the worker
tells it, with the result that it kept.
"""

from __future__ import annotations

from gateway.caller import Caller
from trichord import request_id
from trichord.jobs.usage.reporter import Report
from trichord.v1 import gateway_pb2, jobs_pb2


class Bill:
    """Of one chat."""

    def __init__(
        self, report: Report, request: gateway_pb2.ChatRequest, caller: Caller, model: str, trace_id: str
    ) -> None:
        self._report, self._is_ours = report, not caller.principal.job_id
        self._event = jobs_pb2.UsageEvent(
            id=f"live_{request_id.new()}",
            request_id=request.request_id,
            tenant=caller.tenant,
            model=model,
            trace_id=trace_id,
        )

    def send(self, usage: gateway_pb2.Usage, *, broken_off: bool = False) -> None:
        """Reports what the request took, once; never waits, and never fails."""
        if self._is_ours:
            self._event.usage.CopyFrom(usage)
            self._event.broken_off = broken_off
            self._event.end_time.GetCurrentTime()
            self._report(self._event)
