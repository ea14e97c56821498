"""What is there now: replicas by state, who waits, what the store did. Looked at whenever a page is asked for.

A page is asked for in another thread than the one that changes what is looked at: nothing here does more than read
numbers, and copy lists in one step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol, get_args

from prometheus_client import REGISTRY, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.admission.lanes import Lanes
from gateway.embeddings.counters import StoreCounters
from gateway.routing.replica import ReplicaSnapshot

State = Literal["usable", "unknown", "unhealthy", "broken", "pushed_back", "ejected", "leaving"]
"""A replica's, the worst that holds: takes calls; nothing is heard of it yet; its health check fails or is unreachable;
its breaker is open; it asked for peace; it is left out for failing more than its peers; it ends the calls it has."""


class Service(Protocol):
    """What has replicas; ``backends.Encoder`` and ``backends.Decoder`` are such."""

    def snapshot(self) -> list[ReplicaSnapshot]:
        """Its replicas."""


class Watched(NamedTuple):
    """The parts of one gateway that are looked at."""

    services: Mapping[str, Service]
    """By name."""
    lanes: Lanes
    lookups: StoreCounters


class LiveCollector(Collector):
    """Looks at every gateway of this process; tests have several."""

    def __init__(self) -> None:
        self._watched: list[Watched] = []

    def watch(self, watched: Watched) -> None:
        """Looks at it from now on."""
        self._watched.append(watched)

    def forget(self, watched: Watched) -> None:
        """Looks at it no more."""
        self._watched = [other for other in self._watched if other is not watched]

    def collect(self) -> Iterable[Metric]:
        """See ``Collector``."""
        watched = self._watched
        yield _replicas(watched)
        yield _queues(watched)
        yield _lookups(watched)


def state(replica: ReplicaSnapshot) -> State:
    """How a replica stands, in a word."""
    faults: list[tuple[bool, State]] = [
        (replica.is_leaving, "leaving"),
        (replica.ejected_for_s > 0, "ejected"),
        (replica.pushed_back_for_s > 0, "pushed_back"),
        (replica.breaker != "closed", "broken"),
        (replica.health in ("not_serving", "unreachable"), "unhealthy"),
        (replica.health == "unknown", "unknown"),
    ]
    return next((word for holds, word in faults if holds), "usable")


def _replicas(watched: Iterable[Watched]) -> Metric:
    family = GaugeMetricFamily(
        "trichord_replicas",
        "Replicas of the services behind the gateway by how they stand.",
        labels=["service", "state"],
    )
    found = Counter(
        (service, state(replica))
        for one in watched
        for service, owner in one.services.items()
        for replica in owner.snapshot()
    )
    for service in sorted({service for one in watched for service in one.services}):
        for word in get_args(State):
            family.add_metric([service, word], found[service, word])
    return family


def _queues(watched: Iterable[Watched]) -> Metric:
    family = GaugeMetricFamily(
        "trichord_queue_length", "Items of work that wait in the gateway for their turn.", labels=["modality"]
    )
    found: Counter[str] = Counter()
    for one in watched:
        found.update(one.lanes.num_queued())
    for modality, number in found.items():
        family.add_metric([modality], number)
    return family


def _lookups(watched: Iterable[Watched]) -> Metric:
    family = CounterMetricFamily(
        "trichord_store_lookups",
        "Images and sounds looked for in the store: kept there (hit), known there to be undecodable (refused), "
        "being encoded for another (flight), to be encoded (miss). Calls of it that failed (error) are misses too.",
        labels=["result"],
    )
    found: Counter[str] = Counter()
    for one in watched:
        found.update(dict(_results(one.lookups)))
    for result, number in found.items():
        family.add_metric([result], number)
    return family


def _results(counted: StoreCounters) -> Iterator[tuple[str, int]]:
    yield "hit", counted.hits
    yield "refused", counted.refused
    yield "flight", counted.shared
    yield "miss", counted.misses
    yield "error", counted.redis_failures


LIVE = LiveCollector()
REGISTRY.register(LIVE)
