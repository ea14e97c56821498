"""Workers of jobs: the same policy and the same mouths as for modalities, with the queue for a signal."""

from __future__ import annotations

from typing import Any, cast

import pytest

from autoscaler.actuator import Replicas
from autoscaler.decisions import Decisions, Record
from autoscaler.direct.deployments import Deployments
from autoscaler.direct.lease import Lease
from autoscaler.keda import AskedByKeda, ExternalScaler
from autoscaler.observation import Observation
from autoscaler.policy import Decision, Policy
from autoscaler.rules import DEFAULTS, Rules
from autoscaler.state import State
from tests.unit.autoscaler.kube_lab import KubeLab
from trichord.demand import Demand
from trichord.keda import externalscaler_pb2 as pb

RULES = DEFAULTS["worker"]
ITEMS_PER_S = 1.0
"""That a worker does here."""


class Queue:
    """Items, and workers that do them, second by second; a worker takes them ``startup_s`` after it was asked for."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.items, self.oldest_s, self.now_s = 0.0, 0.0, 0.0
        self.replicas = 0
        self._policy, self._state = Policy(rules), State()
        self._ready_at_s: list[float] = []

    def second(self) -> Decision:
        num_ready = sum(at_s <= self.now_s for at_s in self._ready_at_s)
        demand = Demand(modality="worker", queued_cost=self.items, queue_p95_ms=self.oldest_s * 1e3, at_s=self.now_s)
        decision = self._policy.decide(Observation(demand, self.replicas, num_ready), self._state, self.now_s)
        self._state, self.replicas = decision.state, decision.replicas
        starting = [self.now_s + RULES.startup_s] * (self.replicas - len(self._ready_at_s))
        self._ready_at_s = [*self._ready_at_s, *starting][: self.replicas]
        self.items = max(0.0, self.items - num_ready * ITEMS_PER_S)
        self.oldest_s = self.oldest_s + 1 if self.items else 0.0
        self.now_s += 1
        return decision

    def seconds(self, count: float) -> list[int]:
        return [self.second().replicas for _ in range(int(count))]


def test_it_wakes_for_one_item_and_sleeps_when_none_is_left() -> None:
    queue = Queue()
    assert set(queue.seconds(100)) == {0}
    queue.items = 1
    assert queue.second().reason.startswith("Woken from 0 to 1: ")
    counts = queue.seconds(RULES.startup_s + 2 * RULES.idle_s)
    assert queue.items == 0
    assert set(counts) == {1, 0}
    assert counts == sorted(counts, reverse=True), "once"
    assert counts.count(1) >= RULES.idle_s


def test_many_items_have_many_workers_and_no_more_than_may_be() -> None:
    queue = Queue()
    queue.items = 5_000.0
    counts = queue.seconds(600)
    assert max(counts) == counts[-1] == RULES.max_replicas == 4
    left = queue.items
    queue.seconds(left / RULES.max_replicas + 10 * RULES.step_down_every_s)
    assert (queue.items, queue.replicas) == (0, 0)


def test_a_few_hundred_items_are_one_workers_work() -> None:
    queue = Queue()
    queue.items = 250.0
    assert max(queue.seconds(400)) == 1
    assert queue.items == 0


def test_a_job_that_waits_for_hours_gets_another_worker() -> None:
    """It would be one worker's work: it must be that the work is slow, or that more comes all the time."""
    queue = Queue()
    queue.items, queue.oldest_s = 250.0, RULES.slo_queue_p95_ms / 1e3
    queue.seconds(RULES.startup_s + 5)
    decision = queue.second()
    assert decision.replicas > 1
    assert "the oldest job waits" in decision.reason


def test_a_queue_that_is_away_is_no_empty_queue() -> None:
    held = Policy(RULES).decide(Observation(None, 3, 3), State(), 1000.0)
    assert held.replicas == 3
    assert held.reason.startswith("Held at 3")


@pytest.mark.parametrize("replicas", [0, 3])
async def test_keda_is_told_of_them(replicas: int) -> None:
    decisions = Decisions()
    decision = Decision(replicas, "because", State(), floor=0)
    decisions.note({"worker": Record("worker", 0.0, Replicas(1, 1), decision)})
    scaler, context = ExternalScaler(decisions), cast("Any", None)
    asked = pb.ScaledObjectRef(name="job-worker", scalerMetadata={"modality": "worker"})
    told: Any = await scaler.GetMetrics(
        pb.GetMetricsRequest(scaledObjectRef=asked, metricName="trichord_worker_replicas"), context
    )
    assert told.metricValues[0].metricValueFloat == replicas
    assert (await scaler.IsActive(asked, context)).result is (replicas > 0)


async def test_keda_has_as_many_as_the_queue_knows() -> None:
    keda = AskedByKeda()
    demand = Demand(modality="worker", num_ready_replicas=2)
    assert await keda.replicas({"worker": demand}) == {"worker": Replicas(2, 2)}
    await keda.scale("worker", Replicas(2, 2), 4, "because")
    assert await keda.replicas({"worker": demand}) == {"worker": Replicas(4, 2)}


async def test_kubernetes_is_told_directly(kube: KubeLab) -> None:
    kube.add("r-job-worker", replicas=0)
    lease = Lease(kube.api(), "scaler", "one", 60.0)
    await lease.ask()
    deployments = Deployments(kube.api(), lease, "r-")
    seen = await deployments.replicas({})
    assert seen == {"worker": Replicas(0, 0)}
    assert await deployments.scale("worker", seen["worker"], 2, "Woken from 0 to 2: 600 items wait.")
    assert kube.writes == [("r-job-worker", 2)]
    await deployments.close()
