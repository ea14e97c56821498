"""A whole replay: nothing gets lost, laws hold, and the same seed is the same story."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.replay.cluster import MODALITIES
from autoscaler.replay.contest import Contest, Entry, attainment_at, frontier, hours_at
from autoscaler.replay.engine import Replay
from autoscaler.replay.load import per_minute, sized_for
from autoscaler.replay.outcome import Figures, Slo, as_dict, figures
from autoscaler.replay.scalers import HorizontalPodAutoscaler, Static
from autoscaler.replay.sizing import attained, smallest
from autoscaler.replay.trace import Arrival
from autoscaler.replay.traces import SHAPES, generate
from trichord.errors import RequestError

SIZES = {"vision": 3, "audio": 1, "decoder": 4}


def steady(per_s: float = 4.0, duration_s: float = 300.0, seed: int = 1) -> list[Arrival]:
    return generate(SHAPES["constant"], per_s, duration_s, seed, mean_tokens=30)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), until_s=st.floats(0, 120), max_waiting=st.integers(1, 20))
def test_what_arrived_was_served_or_refused_or_is_under_way(cluster, seed, until_s, max_waiting):
    trace = steady(8.0, 60.0, seed)
    small = dataclasses.replace(cluster, max_waiting=max_waiting)
    replay = Replay(trace, small, Static(), dict.fromkeys(MODALITIES, 1))
    replay.run(until_s=until_s)
    arrived = sum(arrival.time_s <= until_s for arrival in trace)
    served = sum(request.finished_s is not None and not request.is_shed for request in replay.requests)
    shed = sum(request.is_shed for request in replay.requests)
    waiting_or_running = sum(len(p.queue) + sum(r.num_running for r in p.replicas) for p in replay.pools.values())
    under_way = [r for r in replay.requests if r.arrival.time_s <= until_s and not r.is_over]
    in_decoder = len(replay.pools["decoder"].queue) + sum(r.num_running for r in replay.pools["decoder"].replicas)
    encoding = [r for r in under_way if r.num_pending]
    assert arrived == served + shed + len(under_way)
    assert len(under_way) == in_decoder + len(encoding)
    assert waiting_or_running >= len(under_way)
    replay.run()
    assert all(request.is_over for request in replay.requests)
    assert [(len(p.queue), p.queued_cost, p.running_cost) for p in replay.pools.values()] == [(0, 0.0, 0.0)] * 3


def test_littles_law_holds(cluster):
    """As many are in the system, on average over time, as arrive in the mean time that one spends there."""
    trace = steady(6.0, 900.0)
    replay, inside = Replay(trace, cluster, Static(), SIZES), []
    for moment in np.arange(1.0, 900.0, 1.0):
        replay.run(until_s=float(moment))
        inside.append(sum(r.arrival.time_s <= moment and not r.is_over for r in replay.requests))
    replay.run()
    mean_s = np.mean([r.finished_s - r.arrival.time_s for r in replay.requests])
    assert np.mean(inside) == pytest.approx(len(trace) / 900.0 * mean_s, rel=0.03)
    assert np.mean(inside) > 1


def test_the_same_seed_is_the_same_story(cluster):
    def story() -> dict[str, object]:
        hpa = HorizontalPodAutoscaler(0.5, 20, by_slots=True)
        replay = Replay(steady(), cluster, hpa, dict.fromkeys(MODALITIES, 1))
        replay.run()
        return as_dict(figures(replay, Slo()))

    assert story() == story()


def test_media_are_encoded_before_the_prompt_and_side_by_side(cluster):
    trace = [Arrival(10.0, 2, 7, 3.0, 100, 1)]
    replay = Replay(trace, cluster, Static(), SIZES)
    replay.run()
    encoded_s = 0.1 * 4  # three and four tiles on two encoders; the sound takes 0.03 s
    positions = 100 + 7 * 66 + 75
    tokens = [512, positions - 512]  # two steps: the largest chunk, and the rest
    pairs = [512 * 513 / 2, tokens[1] * 512 + tokens[1] * (tokens[1] + 1) / 2]
    steps_s = sum((1 + max(9, 0.1 * num) + 2000 * pair / 1e6) / 1e3 for num, pair in zip(tokens, pairs, strict=True))
    assert replay.requests[0].first_token_s == pytest.approx(10.0 + encoded_s + steps_s)
    assert replay.requests[0].finished_s == replay.requests[0].first_token_s


def test_figures_are_those_of_the_requests(cluster):
    trace = [Arrival(0.0, 0, 0, 0.0, 10, 1), Arrival(5.0, 1, 1, 0.0, 10, 1), Arrival(3600.0, 0, 0, 0.0, 10, 1)]
    replay = Replay(trace, cluster, Static(), SIZES)
    replay.run()
    rows = figures(replay, Slo(ttft_s=0.05))
    assert (rows["vision"].requests, rows["audio"].requests, rows["decoder"].requests) == (1, 0, 2)
    assert (rows["vision"].attainment, rows["audio"].attainment, rows["decoder"].attainment) == (0.0, 1.0, 1.0)
    assert rows["all"].attainment == pytest.approx(2 / 3)
    assert rows["all"].gpu_hours == pytest.approx(8)
    assert rows["audio"].ttft_p50_s is None
    assert rows["all"].max_replicas == 8


def test_load_is_what_keeps_replicas_busy(cluster):
    trace = [Arrival(6.0 * k, 1, 3, 4.0, 100, 10) for k in range(20)]
    loads = per_minute(trace, cluster)
    assert loads["vision"] == pytest.approx([10 * 0.3 / 60] * 2)
    assert loads["audio"] == pytest.approx([10 * 0.04 / 60] * 2)
    assert sized_for({"vision": np.array([1.0, 2.0, 3.5])}, 1.0, 0.5) == {"vision": 7}
    assert sized_for({"vision": np.array([0.0])}, 1.0, 0.5) == {"vision": 1}


def test_the_smallest_size_suffices_and_one_fewer_does_not(cluster):
    trace, slo, tried = steady(6.0), Slo(4.0, 10.0), []
    sizes = smallest(trace, cluster, slo, 0.95, lambda sizes, kept: tried.append((dict(sizes), kept)))
    assert attained(trace, cluster, slo, sizes) >= 0.95
    assert sizes["vision"] > 1
    for modality in MODALITIES:
        if sizes[modality] > 1:
            assert attained(trace, cluster, slo, {**sizes, modality: sizes[modality] - 1}) < 0.95
    assert (sizes, attained(trace, cluster, slo, sizes)) in tried


def test_an_slo_that_no_size_keeps_is_refused(cluster):
    with pytest.raises(RequestError, match="No size keeps that SLO"):
        smallest(steady(1.0, 30.0), cluster, Slo(0.001, 0.001), 0.9, lambda sizes, kept: None)


def test_every_scaler_replays_the_same_trace(cluster):
    trace = steady(2.0, 120.0)
    contest, seen = Contest(trace, cluster, Slo()), []
    for scaler in ("static", "hpa-busy", "hpa-slots", "trichord"):
        entry = contest.run(scaler, 0.6, seen.append)
        assert entry.rows["all"].requests == len(trace)
        assert all(timeline[0][0] == 0.0 for timeline in entry.timelines.values())
    assert len(seen) > 100


def entry(gpu_hours: float, attainment: float) -> Entry:
    row = Figures(1, 0, attainment, None, None, gpu_hours, 0, 1)
    return Entry("static", 1.0, {"all": row}, {})


CURVE = [entry(10, 0.90), entry(12, 0.98), entry(11, 0.85), entry(20, 1.0)]


def test_curves_are_read_between_the_settings_that_pay():
    assert frontier(CURVE) == [(10, 0.90), (12, 0.98), (20, 1.0)]
    assert hours_at(CURVE, 0.94) == pytest.approx(11)
    assert hours_at(CURVE, 0.99) == pytest.approx(16)
    assert hours_at(CURVE, 0.5) is None
    assert attainment_at(CURVE, 16) == pytest.approx(0.99)
    assert attainment_at(CURVE, 21) is None
