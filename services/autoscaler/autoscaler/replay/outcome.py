"""What came of a replay, by modality and in all, as numbers that people compare.

A request belongs to each modality it has media of, one of text only to the decoder; GPU-hours, starts and replicas are
those of the modality's pool. GPU-hours count until the last arrival, so that scalers are compared over one time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from autoscaler.replay.cluster import MODALITIES, Modality
from autoscaler.replay.engine import Replay, Request
from autoscaler.replay.pool import Pool

Row = Literal["vision", "audio", "decoder", "all"]


@dataclass(frozen=True)
class Slo:
    """What a request is promised; seconds since its arrival."""

    ttft_s: float = 2.0
    """To the first token."""
    e2e_s: float = 30.0
    """To the last."""

    def is_met(self, request: Request) -> bool:
        """Whether it was kept; not for what was refused, or is not over."""
        began = request.arrival.time_s
        if request.first_token_s is None or request.finished_s is None:
            return False
        return request.first_token_s - began <= self.ttft_s and request.finished_s - began <= self.e2e_s


@dataclass(frozen=True)
class Figures:
    """Of one modality, or of all."""

    requests: int
    shed: int
    attainment: float
    """Share of the requests for which the SLO was met; 1 if there were none."""
    ttft_p50_s: float | None
    """None if no request got a token."""
    ttft_p99_s: float | None
    gpu_hours: float
    cold_starts: int
    """Replicas that were started after the beginning."""
    max_replicas: int


def figures(replay: Replay, slo: Slo) -> dict[Row, Figures]:
    """The figures of a replay that was run."""
    rows: dict[Row, Figures] = {}
    for modality in MODALITIES:
        requests = [request for request in replay.requests if _belongs(request, modality)]
        rows[modality] = _figures(requests, [replay.pools[modality]], replay.horizon_s, slo)
    rows["all"] = _figures(replay.requests, list(replay.pools.values()), replay.horizon_s, slo)
    return rows


def as_dict(rows: dict[Row, Figures]) -> dict[str, Any]:
    """For JSON."""
    return {name: asdict(row) for name, row in rows.items()}


def _belongs(request: Request, modality: Modality) -> bool:
    images, sound = bool(request.arrival.images), bool(request.arrival.audio_s)
    return {"vision": images, "audio": sound, "decoder": not images and not sound}[modality]


def _figures(requests: Sequence[Request], pools: Sequence[Pool], horizon_s: float, slo: Slo) -> Figures:
    ttft_s = [r.first_token_s - r.arrival.time_s for r in requests if r.first_token_s is not None]
    p50, p99 = (float(value) for value in np.quantile(ttft_s, (0.5, 0.99))) if ttft_s else (None, None)
    return Figures(
        requests=len(requests),
        shed=sum(request.is_shed for request in requests),
        attainment=sum(map(slo.is_met, requests)) / len(requests) if requests else 1.0,
        ttft_p50_s=p50,
        ttft_p99_s=p99,
        gpu_hours=sum(pool.gpu_s(horizon_s) for pool in pools) / 3600,
        cold_starts=sum(pool.num_cold_starts for pool in pools),
        max_replicas=_most_at_once(pools),
    )


def _most_at_once(pools: Sequence[Pool]) -> int:
    """Replicas of all the pools together."""
    changes = sorted(
        (time_s, count - before)
        for pool in pools
        for (time_s, count), before in zip(pool.timeline, [0, *(count for _, count in pool.timeline)], strict=False)
    )
    return int(np.cumsum([change for _, change in changes]).max()) if changes else 0
