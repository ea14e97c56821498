"""Pages of metrics as a process of ours serves them, and what changed between two looks at them. Pure.

A counter that went back began again at nothing (its process did); a page that was not there before tells no rates yet;
what is missing or no number counts as nothing. Knows no metric's name.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from trichord.errors import RequestError

Labels = frozenset[tuple[str, str]]
Page = Mapping[tuple[str, Labels], float]
"""Values by name and labels."""

PREFIXES = ("trichord_", "gen_ai_")


def parse(text: str) -> Page:
    """The samples of ours on a page in Prometheus's text format. Raises RequestError for what is no such page."""
    ours = "\n".join(line for line in text.splitlines() if line.startswith(PREFIXES))
    try:
        families = text_string_to_metric_families(ours + "\n")
        samples = [sample for family in families for sample in family.samples]
        return {(sample.name, frozenset(sample.labels.items())): float(sample.value) for sample in samples}
    except Exception as error:  # the parser stumbles in many ways
        raise RequestError("What answers there is no page of metrics.") from error


class Change(NamedTuple):
    """What happened on some pages between two looks."""

    pages: Iterable[tuple[Page, Page]]
    """Each before and after."""
    seconds: float

    @classmethod
    def between(cls, before: Mapping[str, Page], after: Mapping[str, Page], seconds: float) -> Change:
        """Of pages by address: those that are there now."""
        return cls([(before.get(address, page), page) for address, page in after.items()], seconds)

    def rate(self, name: str, **labels: str) -> float:
        """By how much a counter grew a second, over all pages and label sets that have ``labels``."""
        grown = (
            increase(before.get(key), value)
            for before, after in self.pages
            for key, value in _matching(after, name, labels)
        )
        return sum(grown) / self.seconds

    def now(self, name: str, **labels: str) -> list[float]:
        """A gauge's values."""
        values = (value for _, after in self.pages for _, value in _matching(after, name, labels))
        return [value for value in values if math.isfinite(value)]

    def values(self, name: str, label: str) -> list[str]:
        """Which values a label has, sorted."""
        found = (dict(key[1]).get(label) for _, after in self.pages for key, _ in _matching(after, name, {}))
        return sorted({value for value in found if value is not None})

    def quantile(self, name: str, share: float, **labels: str) -> float | None:
        """Of what a histogram observed meanwhile: the value under which ``share`` of it lies; None if it did nothing.

        Within a bucket values are taken to be evenly spread, as Prometheus does; beyond the last bound, to be there.
        """
        counts: dict[float, float] = defaultdict(float)
        for before, after in self.pages:
            for bound, count in _buckets(before, after, f"{name}_bucket", labels):
                counts[bound] += count
        return _quantile(sorted(counts.items()), share)


def increase(before: float | None, after: float) -> float:
    """By how much a counter grew."""
    if not math.isfinite(after) or (before is not None and not math.isfinite(before)):
        return 0.0
    return max(0.0, after if before is None or after < before else after - before)


def _matching(page: Page, name: str, labels: Mapping[str, str]) -> Iterator[tuple[tuple[str, Labels], float]]:
    wanted = labels.items()
    return ((key, value) for key, value in page.items() if key[0] == name and wanted <= key[1])


def _buckets(before: Page, after: Page, name: str, labels: Mapping[str, str]) -> Iterator[tuple[float, float]]:
    """How much each bucket grew, of all series; of one that began again, what is in it."""
    series: dict[Labels, list[tuple[float, float | None, float]]] = defaultdict(list)
    for key, value in _matching(after, name, labels):
        told = dict(key[1])
        bound = _number(told.pop("le", ""))
        if not math.isnan(bound):
            series[frozenset(told.items())].append((bound, before.get(key), value))
    for buckets in series.values():
        has_restarted = any(past is not None and value < past for _, past, value in buckets)
        for bound, past, value in buckets:
            yield bound, increase(None if has_restarted else past, value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _quantile(cumulative: list[tuple[float, float]], share: float) -> float | None:
    bounds = [bound for bound, _ in cumulative]
    counts = list(itertools.accumulate((count for _, count in cumulative), max))
    if not counts or counts[-1] <= 0:
        return None
    rank = share * counts[-1]
    at = next(index for index, count in enumerate(counts) if count >= rank)
    below, under = (bounds[at - 1], counts[at - 1]) if at else (min(0.0, bounds[0]), 0.0)
    if not math.isfinite(bounds[at]):
        return below
    inside = counts[at] - under
    return below + (bounds[at] - below) * ((rank - under) / inside if inside else 1.0)
