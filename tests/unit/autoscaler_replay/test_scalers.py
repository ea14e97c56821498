"""Who decides: Kubernetes' algorithm worked out by hand, and the autoscaler's own policy on a service that sleeps."""

import pytest

from autoscaler.replay.clock import Clock
from autoscaler.replay.cluster import MODALITIES, Cluster
from autoscaler.replay.contest import rules
from autoscaler.replay.encoder_pool import EncoderPool
from autoscaler.replay.engine import Replay
from autoscaler.replay.scalers import HorizontalPodAutoscaler, Static, TrichordScaler
from autoscaler.replay.signals import Signals
from autoscaler.replay.trace import Arrival
from autoscaler.rules import Rules

HAND_WORKED = {
    # ceil(current * use / target), as in the documentation's examples.
    "twice the target doubles": (1.0, 0.5, 4, 4, 8),
    "half the target halves": (0.25, 0.5, 4, 4, 2),
    "rounded up": (0.6, 0.5, 4, 4, 5),
    "within a tenth nothing changes": (0.54, 0.5, 10, 10, 10),
    "nor below": (0.46, 0.5, 10, 10, 10),
    # Ready ones at 0.75 of 0.5 ask for 1.5 times; six of eight ready: 1.125 times eight is nine.
    "starting ones count as unused on the way up": (0.75, 0.5, 8, 6, 9),
    # 1.5 times, four of six ready: exactly enough are on their way.
    "and may be all that is needed": (0.75, 0.5, 6, 4, 6),
    "nothing ready, nothing known": (0.0, 0.5, 3, 0, 3),
}


@pytest.mark.parametrize(("use", "target", "current", "ready", "wanted"), HAND_WORKED.values(), ids=HAND_WORKED)
def test_the_hpa_recommends_what_its_documentation_says(use, target, current, ready, wanted):
    hpa = HorizontalPodAutoscaler(target, 100, by_slots=False)
    assert hpa.recommendation(use, current, ready) == wanted


def pool_of(count: int) -> EncoderPool:
    pool = EncoderPool(Clock(), 0.0, 100, lambda work: work, 1)
    pool.warm_up(count)
    return pool


def decided(hpa: HorizontalPodAutoscaler, pool: EncoderPool, now_s: float, use: float) -> int:
    """The decision after a period in which every replica was used so much."""
    pool.usage.busy_s += use * len(pool.replicas) * hpa.period_s
    pool.clock.now_s = now_s
    count = hpa.decide("vision", pool, now_s)
    pool.scale_to(count)
    while pool.clock.next_s <= now_s:
        pool.clock.step()
    return count


def test_the_hpa_goes_down_only_after_five_minutes():
    hpa, pool = HorizontalPodAutoscaler(0.5, 100, by_slots=False), pool_of(8)
    assert decided(hpa, pool, 15.0, 0.5) == 8
    counts = {now: decided(hpa, pool, now, 0.25) for now in (30.0 + 15 * k for k in range(22))}
    assert [now for now, count in counts.items() if count < 8][0] == 330.0  # noqa: RUF015 - says which
    assert counts[330.0] == 4


def test_the_hpa_goes_up_to_twice_or_by_four_at_once():
    assert decided(HorizontalPodAutoscaler(0.1, 100, by_slots=False), pool_of(2), 15.0, 1.0) == 6
    assert decided(HorizontalPodAutoscaler(0.1, 100, by_slots=False), pool_of(8), 15.0, 1.0) == 16
    assert decided(HorizontalPodAutoscaler(0.1, 20, by_slots=False), pool_of(16), 15.0, 1.0) == 20


def sleepy(cluster: Cluster) -> dict[str, Rules]:
    asleep = {"min_replicas": 0, "idle_s": 60.0, "down_window_s": 60.0, "step_down_every_s": 0.0}
    told = rules(cluster, 0.8)
    return {**told, "vision": told["vision"].model_copy(update=asleep)}


def test_a_sleeping_modality_holds_its_requests_and_wakes(cluster):
    texts = [Arrival(float(second), 0, 0, 0.0, 50, 5) for second in range(0, 600, 2)]
    images = [Arrival(100.5 + k, 1, 2, 0.0, 50, 5) for k in range(5)]
    replay = Replay(
        sorted(texts + images), cluster, TrichordScaler(sleepy(cluster)), {"vision": 0, "audio": 1, "decoder": 2}
    )
    replay.run()
    held = [request for request in replay.requests if request.arrival.images]
    assert all(request.finished_s is not None for request in replay.requests)
    # Woken at once by the first, ready 20 s later, never let go while it loads.
    assert 20.0 < held[0].first_token_s - held[0].arrival.time_s < 22.0
    timeline = replay.pools["vision"].timeline
    assert timeline[:2] == [(0.0, 0), (100.5, 1)]
    assert timeline[-1][1] == 0
    assert timeline[-1][0] > 160.0
    # Text never waits for it.
    waited = [r.first_token_s - r.arrival.time_s for r in replay.requests if not r.arrival.images]
    assert max(waited) < 1.0


def test_a_static_fleet_stays(cluster):
    trace = [Arrival(float(second), 0, 0, 0.0, 50, 5) for second in range(60)]
    replay = Replay(trace, cluster, Static(), dict.fromkeys(MODALITIES, 2))
    replay.run()
    assert {m: pool.timeline for m, pool in replay.pools.items()} == {m: [(0.0, 2)] for m in MODALITIES}


def test_the_demand_is_what_a_gateway_would_publish(cluster):
    trace = [Arrival(1.0, 2, 7, 0.0, 50, 5), Arrival(1.0, 1, 5, 0.0, 50, 5)]
    replay = Replay(trace, cluster, Static(), {"vision": 0, "audio": 0, "decoder": 1})
    replay.run(until_s=2.0)
    signals = Signals("vision")
    demand = signals.demand(replay.pools["vision"], 10.0)
    assert (demand.queued_cost, demand.running_cost, demand.num_held) == (12.0, 0.0, 3)
    assert demand.arrived_cost_per_s == pytest.approx(1.2)
    assert demand.served_cost_per_s_per_replica is None
    replay.pools["vision"].scale_to(1)
    replay.run()
    served = signals.demand(replay.pools["vision"], 30.0)
    assert served.served_cost_per_s_per_replica == pytest.approx(10.0)
    assert (served.queued_cost, served.running_cost) == (0.0, 0.0)
