"""What a process tells of itself, for tests: read from a page as Prometheus reads it, or straight from this process."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SOON_S = 20
OPENMETRICS = "application/openmetrics-text; version=1.0.0"

Look = Callable[[], Iterable[Metric]]


class Metrics:
    """Metrics as they change: ``gained`` since they were first looked at."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._before = self.samples()

    def samples(self) -> list[Sample]:
        """All of them as they are now."""
        return [sample for family in self._look() for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels, whatever others they have."""
        return _sum(self.samples(), name, labels)

    def gained(self, name: str, **labels: str) -> float:
        """How much that is more than at first."""
        return self.value(name, **labels) - _sum(self._before, name, labels)

    def labels(self, name: str) -> list[dict[str, str]]:
        """Of the samples of that name that are not what they were."""
        before = [(sample.name, sample.labels, sample.value) for sample in self._before]
        now = [(sample.name, sample.labels, sample.value) for sample in self.samples()]
        return [sample[1] for sample in now if sample[0] == name and sample not in before]

    async def until(self, gained: float, name: str, **labels: str) -> None:
        """Waits until so much is gained, no more and no less."""
        async with asyncio.timeout(SOON_S):
            while self.gained(name, **labels) < gained:  # noqa: ASYNC110 - a counter tells nobody that it grew
                await asyncio.sleep(0.02)
        assert self.gained(name, **labels) == gained


class Page(Metrics):
    """A page over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(lambda: text_string_to_metric_families(self.text()))

    def text(self, accept: str = CONTENT_TYPE_LATEST) -> str:
        """The page as one asks for it."""
        request = urllib.request.Request(self.url, headers={"accept": accept})
        with urllib.request.urlopen(request, timeout=SOON_S) as response:
            content: bytes = response.read()
        return content.decode()

    def trace_ids(self, name: str) -> set[str]:
        """The traces that a histogram's exemplars lead to, as OpenMetrics tells them."""
        families = openmetrics.text_string_to_metric_families(self.text(OPENMETRICS))
        samples = [sample for family in families for sample in family.samples if sample.name == f"{name}_bucket"]
        return {sample.exemplar.labels["trace_id"] for sample in samples if sample.exemplar}


def own_metrics() -> Metrics:
    """This process's, without a page."""
    return Metrics(REGISTRY.collect)


def _sum(samples: Iterable[Sample], name: str, labels: dict[str, str]) -> float:
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())
