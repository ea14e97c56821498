"""Spans of this process, for tests: recorded only while a test asks for them."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, SamplingResult


class Switch(Sampler):
    """Records while it is on."""

    def __init__(self) -> None:
        self.is_on = False
        self._on = ParentBased(ALWAYS_ON)

    def should_sample(self, parent_context: Context | None, *args: object, **named: object) -> SamplingResult:
        sampler = self._on if self.is_on else ALWAYS_OFF
        return sampler.should_sample(parent_context, *args, **named)  # type: ignore[arg-type]

    def get_description(self) -> str:
        return "switch"


class RecordedSpans:
    """What was recorded since the test began."""

    def __init__(self) -> None:
        self.switch, self._exporter = Switch(), InMemorySpanExporter()
        provider = TracerProvider(sampler=self.switch, shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(provider)

    def clear(self) -> None:
        self._exporter.clear()

    @property
    def ended(self) -> Sequence[ReadableSpan]:
        """In the order in which they ended."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.ended if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def tree(self) -> list[tuple[str, str]]:
        """(name, parent's name or "" at a root), sorted."""
        names = {span.context.span_id: span.name for span in self.ended}
        return sorted((span.name, names.get(span.parent.span_id, "?") if span.parent else "") for span in self.ended)
