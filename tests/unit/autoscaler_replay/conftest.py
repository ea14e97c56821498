"""A small cluster whose latencies are round numbers, so that what it does can be worked out by hand."""

from __future__ import annotations

import pytest

from autoscaler.replay.cluster import Cluster
from trichord.simulation.latency import AudioLatency, DecoderLatency, VisionLatency
from trichord.simulation.profile import LatencyProfile


@pytest.fixture
def profile() -> LatencyProfile:
    return LatencyProfile(
        provenance="estimated",
        note="round numbers",
        mean_answer_tokens=20.0,
        vision=VisionLatency(pass_ms=0.0, weights_ms=0.0, tile_ms=100.0),
        audio=AudioLatency(pass_ms=0.0, weights_ms=0.0, second_ms=10.0),
        decoder=DecoderLatency(
            step_ms=1.0,
            weights_ms=9.0,
            prompt_token_ms=0.1,
            prompt_pair_ns=2000.0,
            sequence_ms=1.0,
            context_token_us=20.0,
        ),
    )


@pytest.fixture
def cluster(profile: LatencyProfile) -> Cluster:
    return Cluster(profile, {"vision": 20.0, "audio": 10.0, "decoder": 40.0})
