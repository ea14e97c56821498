"""What is replayed onto: each modality's model, its replicas' startup and their limits.

Defaults are those of this project's services on a GPU; startup times are assumptions: weights are on a local volume,
and nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from trichord.simulation.profile import LatencyProfile

Modality = Literal["vision", "audio", "decoder"]
MODALITIES: Final[tuple[Modality, ...]] = get_args(Modality)

STARTUP_S: Final[Mapping[Modality, float]] = {"vision": 20.0, "audio": 15.0, "decoder": 45.0}


@dataclass(frozen=True)
class Cluster:
    """One GPU, or slice of one, for each replica."""

    profile: LatencyProfile
    """How long models take."""
    startup_s: Mapping[Modality, float] = field(default_factory=lambda: STARTUP_S)
    """From the decision to the first answer: scheduling, the image, loading."""
    max_batch: Mapping[Modality, int] = field(default_factory=lambda: {"vision": 8, "audio": 16, "decoder": 32})
    """Media of one pass; sequences in progress at once of a decoder."""
    step_tokens: int = 512
    """Tokens of a decoder's step."""
    prompt_share: int = 256
    """Prompt tokens beside decoding sequences: see ``llm_decoder.scheduler.Limits``."""
    max_waiting: int = 5000
    """Requests that wait or are held for one modality; more are refused."""
