"""How much work a trace is, in replicas: what sizes, and the first number of replicas, are worked out from.

A decoder's work is what it takes with every slot used, an encoder's what it takes in full batches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from autoscaler.replay.cluster import MODALITIES, Cluster, Modality
from autoscaler.replay.trace import Arrival
from trichord.simulation.latency import StepLoad

MINUTE_S = 60.0


def per_minute(trace: Sequence[Arrival], cluster: Cluster) -> dict[Modality, npt.NDArray[np.float64]]:
    """Replicas [minutes] that each minute's arrivals would keep busy, by modality."""
    num_minutes = int(trace[-1].time_s // MINUTE_S) + 1 if trace else 1
    minutes = [int(arrival.time_s // MINUTE_S) for arrival in trace]
    works = {
        "vision": [arrival.tiles * cluster.profile.vision.tile_ms / 1e3 for arrival in trace],
        "audio": [arrival.audio_s * cluster.profile.audio.second_ms / 1e3 for arrival in trace],
        "decoder": [_decoder_s(arrival, cluster) for arrival in trace],
    }
    return {m: np.bincount(minutes, works[m], num_minutes) / MINUTE_S for m in MODALITIES}


def sized_for(loads: Mapping[Modality, npt.NDArray[np.float64]], quantile: float, use: float) -> dict[Modality, int]:
    """Replicas of which a minute's load that only a share 1 - ``quantile`` exceeds takes the share ``use``."""
    return {m: max(1, math.ceil(float(np.quantile(load, quantile)) / use)) for m, load in loads.items()}


def _decoder_s(arrival: Arrival, cluster: Cluster) -> float:
    latency, slots, positions = cluster.profile.decoder, cluster.max_batch["decoder"], arrival.positions
    prompt_s = (positions * latency.prompt_token_ms + positions**2 / 2 * latency.prompt_pair_ns / 1e6) / 1e3
    context = slots * (positions + arrival.output_tokens // 2)
    return prompt_s + arrival.output_tokens * latency.step_s(StepLoad(0, 0, slots, context)) / slots
