"""What this gateway knows of the demand for each modality: its lanes' loads, what is held, who is ready.

Of what has no lane it is told by others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from gateway.admission.load import Load
from gateway.routing.replica import ReplicaSnapshot
from trichord.demand import Demand, Modality


class Service(Protocol):
    """What has replicas; ``backends.Encoder`` and ``backends.Decoder`` are such."""

    def snapshot(self) -> list[ReplicaSnapshot]:
        """Its replicas."""


class Held(Protocol):
    """Where work waits for a service that sleeps; ``WaitingRoom`` is one."""

    @property
    def num_held(self) -> int:
        """Of requests."""

    @property
    def held_cost(self) -> int:
        """Of their work."""


class Metered(NamedTuple):
    """Where one modality's figures come from."""

    service: Service
    load: Load
    room: Held | None
    """None for what never sleeps."""


Source = Callable[[], Demand | None]
"""Tells of something else's demand as of now; None while it is not known."""


class DemandMeter:
    """See the module."""

    def __init__(self, metered: Mapping[Modality, Metered]) -> None:
        self._metered = metered
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Has what ``source`` knows told too."""
        self._sources.append(source)

    def demands(self) -> list[Demand]:
        """All of it, as of now."""
        own = [_demand(modality, *metered) for modality, metered in self._metered.items()]
        return [*own, *(told for source in self._sources if (told := source()))]


def _demand(modality: Modality, service: Service, load: Load, room: Held | None) -> Demand:
    num_ready = _num_ready(service.snapshot())
    load.num_replicas = max(1, num_ready)
    return Demand(
        modality=modality,
        queued_cost=load.queued_cost + (room.held_cost if room else 0),
        running_cost=load.running_cost,
        arrived_cost_per_s=load.arrived_cost_per_s,
        served_cost_per_s_per_replica=load.served_cost_per_s_per_replica,
        queue_p95_ms=load.wait_p95_ms,
        num_held=room.num_held if room else 0,
        num_ready_replicas=num_ready,
    )


def _num_ready(replicas: Sequence[ReplicaSnapshot]) -> int:
    return sum(replica.health == "serving" and not replica.is_leaving for replica in replicas)
