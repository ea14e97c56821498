"""How many of each: the fewest static replicas that keep an SLO for a trace, found by replaying it.

Sizes grow together with the load they are worked out from until the SLO is kept; then each modality gives back what it
can. Every try is a whole replay, so the answer holds for this trace and this profile, with hindsight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autoscaler.replay.cluster import MODALITIES, Cluster, Modality
from autoscaler.replay.engine import Replay
from autoscaler.replay.load import per_minute, sized_for
from autoscaler.replay.outcome import Slo
from autoscaler.replay.scalers import Static
from autoscaler.replay.trace import Arrival
from trichord.errors import RequestError

USES = (1.2, 1.1, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of the peak minute's load over the replicas' rate: many first few replicas, then ever more."""

Sizes = dict[Modality, int]


def smallest(
    trace: Sequence[Arrival], cluster: Cluster, slo: Slo, attainment: float, told: Callable[[Sizes, float], None]
) -> Sizes:
    """Sizes at which at least a share ``attainment`` of the requests meets the SLO; one fewer of any would not do.

    ``told`` is called with each try and what it attained. Raises RequestError if no size does.
    """
    tried: dict[tuple[int, ...], float] = {}

    def suffices(sizes: Sizes) -> bool:
        key = tuple(sizes[modality] for modality in MODALITIES)
        if key not in tried:
            tried[key] = attained(trace, cluster, slo, sizes)
            told(sizes, tried[key])
        return tried[key] >= attainment

    loads = per_minute(trace, cluster)
    sizes = next(filter(suffices, (sized_for(loads, 1.0, use) for use in USES)), None)
    if sizes is None:
        raise RequestError("No size keeps that SLO for that share of requests: some take longer than it alone.")
    for modality in reversed(MODALITIES):
        while sizes[modality] > 1 and suffices(fewer := {**sizes, modality: sizes[modality] - 1}):
            sizes = fewer
    return sizes


def attained(trace: Sequence[Arrival], cluster: Cluster, slo: Slo, sizes: Sizes) -> float:
    """The share of requests that meet the SLO with so many replicas of each."""
    replay = Replay(trace, cluster, Static(), sizes)
    replay.run()
    return sum(map(slo.is_met, replay.requests)) / max(1, len(replay.requests))
