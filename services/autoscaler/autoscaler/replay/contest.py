"""Scalers side by side on one trace, each at several settings of its one knob.

The curve of attainment over GPU-hours that a knob draws is what scalers are compared by: at equal attainment, at equal
GPU-hours. All begin with replicas for the first minutes at the same use, ready.
"""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from autoscaler.replay.cluster import MODALITIES, Cluster, Modality
from autoscaler.replay.engine import Replay
from autoscaler.replay.load import per_minute, sized_for
from autoscaler.replay.outcome import Figures, Row, Slo, figures
from autoscaler.replay.scalers import HorizontalPodAutoscaler, Scaler, Static, TrichordScaler
from autoscaler.replay.trace import Arrival
from autoscaler.rules import DEFAULTS, Rules

MAX_REPLICAS = 64
FIRST_MINUTES, FIRST_USE = 3, 0.8

KNOBS: Final[Mapping[str, tuple[float, tuple[float, ...]]]] = {
    "static": (0.9, (1.1, 1.0, 0.95, 0.9, 0.8)),
    "hpa-busy": (0.8, (0.8,)),
    "hpa-slots": (0.7, (0.8, 0.7, 0.6, 0.5)),
    "trichord": (0.8, (0.9, 0.8, 0.7, 0.6)),
}
"""Each scaler's usual use, and those of a sweep: load over rate in the peak minute, or the use that it aims at."""


Timeline = list[tuple[float, int]]
"""How many replicas were paid for from when on, in seconds."""


@dataclass(frozen=True)
class Entry:
    """A scaler at one setting, and what came of it."""

    scaler: str
    knob: float
    rows: dict[Row, Figures]
    timelines: dict[Modality, Timeline]


class Contest:
    """One trace, one cluster, one SLO."""

    def __init__(self, trace: Sequence[Arrival], cluster: Cluster, slo: Slo) -> None:
        self._trace, self._cluster, self._slo = trace, cluster, slo
        self.loads = per_minute(trace, cluster)
        self._first = sized_for({m: load[:FIRST_MINUTES] for m, load in self.loads.items()}, 1.0, FIRST_USE)

    def run(self, scaler: str, knob: float, progress: Callable[[float], None]) -> Entry:
        """Replays the trace once; ``progress`` is told the trace's time."""
        initial = sized_for(self.loads, 1.0, knob) if scaler == "static" else self._first
        replay = Replay(self._trace, self._cluster, self._scaler(scaler, knob), initial)
        gc.disable()  # millions of living requests, hardly any garbage: looking for it takes longer than the replay
        try:
            replay.run(progress=progress)
        finally:
            gc.enable()
        timelines = {modality: pool.timeline for modality, pool in replay.pools.items()}
        return Entry(scaler, knob, figures(replay, self._slo), timelines)

    def _scaler(self, name: str, knob: float) -> Scaler:
        if name == "static":
            return Static()
        if name == "trichord":
            return TrichordScaler(rules(self._cluster, knob))
        return HorizontalPodAutoscaler(knob, MAX_REPLICAS, by_slots=name == "hpa-slots")


def entries(sweep: bool) -> Iterator[tuple[str, float]]:
    """(scaler, knob) of every run."""
    for scaler, (usual, swept) in KNOBS.items():
        yield from ((scaler, knob) for knob in (swept if sweep else (usual,)))


def rules(cluster: Cluster, use: float) -> dict[Modality, Rules]:
    """The autoscaler's default rules at a planned use, but down sooner and by two: there are many replicas."""
    return {
        modality: DEFAULTS[modality].model_copy(
            update={
                "max_replicas": MAX_REPLICAS,
                "startup_s": cluster.startup_s[modality],
                "use_up": use,
                "use_down": 0.75 * use,
                "down_window_s": 180.0,
                "step_down": 2,
                "step_down_every_s": 30.0,
            }
        )
        for modality in MODALITIES
    }


def summary(entries: Sequence[Entry], attainment: float) -> dict[str, Any]:
    """Scalers as equals: GPU-hours of each at ``attainment``, and what each attains with the policy's."""
    by_scaler = {name: [entry for entry in entries if entry.scaler == name] for name in KNOBS}
    hours = {name: hours_at(own, attainment) for name, own in by_scaler.items()}
    ours = hours["trichord"]
    kept = {name: attainment_at(own, ours) for name, own in by_scaler.items()} if ours is not None else {}
    return {
        "attainment": attainment,
        "gpu_hours_at_attainment": hours,
        "gpu_hours": ours,
        "attainment_at_gpu_hours": kept,
    }


def hours_at(entries: Sequence[Entry], attainment: float) -> float | None:
    """GPU-hours at which a scaler's curve reaches ``attainment``, between its settings in a straight line.

    None if it does at none of them, or at each (then fewer would do).
    """
    points = frontier(entries)
    for (hours, before), (more_hours, after) in itertools.pairwise(points):
        if before < attainment <= after:
            return hours + (more_hours - hours) * (attainment - before) / (after - before)
    return None


def attainment_at(entries: Sequence[Entry], gpu_hours: float) -> float | None:
    """What a scaler's curve attains with ``gpu_hours``; None outside of its settings."""
    points = frontier(entries)
    for (hours, before), (more_hours, after) in itertools.pairwise(points):
        if hours <= gpu_hours <= more_hours:
            return before + (after - before) * (gpu_hours - hours) / (more_hours - hours)
    return None


def frontier(entries: Sequence[Entry]) -> list[tuple[float, float]]:
    """(GPU-hours, attainment) of those settings that no cheaper one betters, the cheapest first."""
    best: list[tuple[float, float]] = []
    for point in sorted((entry.rows["all"].gpu_hours, entry.rows["all"].attainment) for entry in entries):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best
