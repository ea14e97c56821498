"""What makes replicas, as the autoscaler sees it. Three implement it: KEDA, Kubernetes, and a local cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from trichord.demand import Demand, Modality

SERVICES: Final[dict[Modality, str]] = {
    "vision": "vision-encoder",
    "audio": "audio-encoder",
    "decoder": "llm-decoder",
    "gateway": "gateway",
    "worker": "job-worker",
}
"""The service that serves a modality."""


class Replicas(NamedTuple):
    """Of one modality."""

    desired: int
    """Asked for, ready or not."""
    ready: int


class Actuator(Protocol):
    """Tells how many replicas there are and makes others."""

    async def replicas(self, demands: Mapping[Modality, Demand]) -> Mapping[Modality, Replicas]:
        """Of each modality that can be scaled; ``demands`` is what gateways tell, for who knows no better.

        Raises a TrichordError if it cannot be told now.
        """
        ...

    async def scale(self, modality: Modality, seen: Replicas, replicas: int, reason: str) -> bool:
        """Asks for ``replicas`` if there are still as many as were ``seen``; whether it did: who stands by does not.

        Raises ConflictError if something else scaled meanwhile, another TrichordError if it cannot be done now.
        """
        ...

    async def close(self) -> None:
        """Ends what it holds."""
        ...
