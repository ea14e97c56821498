"""Replicas and queues against what queueing theory, a plain loop and a pencil say."""

import math
from collections import deque

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoscaler.replay.clock import Clock
from autoscaler.replay.cluster import Cluster
from autoscaler.replay.decoder_pool import DecoderPool
from autoscaler.replay.encoder_pool import EncoderPool
from autoscaler.replay.pool import Task
from trichord.simulation.latency import StepLoad


def run(clock: Clock) -> None:
    while clock.next_s < math.inf:
        clock.step()


def encoder(clock: Clock, max_batch: int = 1, startup_s: float = 0.0) -> EncoderPool:
    return EncoderPool(clock, startup_s, 10**6, lambda work: work, max_batch)


@pytest.mark.parametrize("use", [0.3, 0.7])
def test_an_encoder_waits_as_long_as_an_m_d_1_queue(use):
    """Pollaczek and Khinchine: the mean wait is D * use / (2 * (1 - use)) for a service that always takes D."""
    clock, waits = Clock(), []
    pool = encoder(clock)
    pool.warm_up(1)
    for time_s in np.cumsum(np.random.default_rng(5).exponential(1 / use, 40_000)):
        began = float(time_s)
        task = Task(1.0, lambda began=began: waits.append(clock.now_s - began - 1.0))
        clock.at(began, lambda task=task: pool.submit(task))
    run(clock)
    assert len(waits) == 40_000
    assert np.mean(waits) == pytest.approx(use / (2 * (1 - use)), rel=0.06)
    assert pool.usage.busy_s == pytest.approx(40_000)


def test_an_encoder_takes_together_what_waits():
    clock, done = Clock(), []
    pool = encoder(clock, max_batch=3)
    pool.warm_up(1)
    for cost in (1.0, 2.0, 3.0, 4.0, 5.0):
        pool.submit(Task(cost, lambda cost=cost: done.append((cost, clock.now_s))))
    run(clock)
    assert done == [(1.0, 1.0), (2.0, 10.0), (3.0, 10.0), (4.0, 10.0), (5.0, 15.0)]


def test_rounding_leaves_no_work_behind():
    """0.1 + 0.2 - 0.1 - 0.2 is not 0 in doubles: a modality would never sleep again."""
    clock = Clock()
    pool = encoder(clock, max_batch=2)
    pool.warm_up(2)
    for cost in (0.1, 0.2, 0.3, 0.7, 0.9):
        pool.submit(Task(cost, lambda: None))
    assert pool.queued_cost == pytest.approx(1.9)
    assert pool.running_cost == pytest.approx(0.3)
    run(clock)
    assert (pool.queued_cost, pool.running_cost) == (0.0, 0.0)


def test_what_is_paid_for_is_loading_serving_and_draining():
    clock = Clock()
    pool = encoder(clock, startup_s=20.0)
    pool.scale_to(2)
    pool.submit(Task(30.0, lambda: None))
    clock.at(25.0, lambda: pool.scale_to(0))
    run(clock)
    # One idled until 25; the other loaded until 20, then worked until 50 although nobody wants it any more.
    assert pool.timeline == [(0.0, 2), (25.0, 1), (50.0, 0)]
    assert pool.gpu_s(100.0) == 2 * 25 + 25
    assert pool.gpu_s(30.0) == 2 * 25 + 5
    assert pool.num_cold_starts == 2


def test_of_replicas_those_that_load_go_first_and_never_serve():
    clock = Clock()
    pool = encoder(clock, startup_s=20.0)
    pool.warm_up(1)
    pool.scale_to(2)
    pool.scale_to(1)
    run(clock)
    assert (pool.num_ready, len(pool.replicas)) == (1, 1)
    assert pool.replicas[0].is_ready


def naive(tasks: list[tuple[float, int, int]], cluster: Cluster, slots: int) -> list[tuple[float, float]]:
    """(first token, end) of each (arrival, prompt, output): one replica, one step after another."""
    waiting = deque(sorted((time_s, index) for index, (time_s, _, _) in enumerate(tasks)))
    computed, made, prompts, decoding = [0] * len(tasks), [0] * len(tasks), [], []
    first, end, now_s = [0.0] * len(tasks), [0.0] * len(tasks), 0.0
    while waiting or prompts or decoding:
        if not prompts and not decoding:
            now_s = max(now_s, waiting[0][0])
        while waiting and waiting[0][0] <= now_s and len(prompts) + len(decoding) < slots:
            prompts.append(waiting.popleft()[1])
        budget = cluster.step_tokens - len(decoding)
        if decoding:
            budget = min(budget, cluster.prompt_share * math.ceil(len(prompts) / len(decoding)))
        pairs = context = num_prompt_tokens = 0
        chunks = []
        for index in prompts:
            num = min(budget, tasks[index][1] - computed[index])
            budget -= num
            num_prompt_tokens += num
            pairs += sum(computed[index] + k + 1 for k in range(num))
            chunks.append((index, num))
        context = sum(tasks[index][1] + made[index] for index in decoding)
        now_s += cluster.profile.decoder.step_s(StepLoad(num_prompt_tokens, pairs, len(decoding), context))
        for index in list(decoding):
            made[index] += 1
            if made[index] == tasks[index][2]:
                end[index] = now_s
                decoding.remove(index)
        for index, num in chunks:
            computed[index] += num
            if computed[index] == tasks[index][1]:
                first[index], made[index] = now_s, 1
                prompts.remove(index)
                if tasks[index][2] == 1:
                    end[index] = now_s
                else:
                    decoding.append(index)
    return list(zip(first, end, strict=True))


TASKS = st.lists(
    st.tuples(st.floats(0.001, 2.0).map(lambda x: x * math.pi), st.integers(1, 900), st.integers(1, 60)),
    min_size=1,
    max_size=12,
    unique_by=lambda task: task[0],
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=TASKS, slots=st.integers(1, 6))
def test_a_decoder_does_what_a_loop_of_steps_does(cluster, tasks, slots):
    batches = {"vision": 1, "audio": 1, "decoder": slots}
    cluster = Cluster(cluster.profile, max_batch=batches, step_tokens=256, prompt_share=64)
    clock, first, end = Clock(), [0.0] * len(tasks), [0.0] * len(tasks)
    pool = DecoderPool(clock, cluster)
    pool.warm_up(1)
    for index, (time_s, prompt, output) in enumerate(tasks):
        task = Task(
            1.0,
            lambda index=index: end.__setitem__(index, clock.now_s),
            prompt,
            output,
            lambda index=index: first.__setitem__(index, clock.now_s),
        )
        clock.at(time_s, lambda task=task: pool.submit(task))
    run(clock)
    expected = naive(tasks, cluster, slots)
    assert first == pytest.approx([time_s for time_s, _ in expected], abs=1e-6)
    assert end == pytest.approx([time_s for _, time_s in expected], abs=1e-6)
    assert pool.usage.work == sum(prompt + output - 1 for _, prompt, output in tasks)


def test_sequences_go_to_the_decoder_with_the_fewest(cluster):
    clock = Clock()
    pool = DecoderPool(clock, cluster)
    pool.warm_up(3)
    for _ in range(7):
        pool.submit(Task(1.0, lambda: None, 10, 10))
    assert sorted(replica.num_running for replica in pool.replicas) == [2, 2, 3]
