"""Fair queueing: shares, order, and that nobody is forgotten."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.fair_queue import FairQueue
from gateway.admission.priority_queue import Priority, PriorityQueue


@dataclass(eq=False)
class Job:
    tenant: str
    cost: int = 1
    weight: int = 1
    priority: Priority = Priority.LIVE


costs = st.lists(st.integers(1, 50), min_size=1, max_size=40)
tenants = st.dictionaries(st.sampled_from("abcdef"), st.tuples(st.sampled_from([1, 2, 4, 8]), costs), min_size=2)


def drained(queue: FairQueue[Job]) -> list[Job]:
    jobs = []
    while job := queue.pop():
        jobs.append(job)
    return jobs


@given(tenants)
def test_while_two_wait_each_gets_its_share_within_one_job_of_each(tenants):
    """Theorem 1 of the paper, over every interval in which both are backlogged."""
    queue = FairQueue[Job]()
    for tenant, (weight, costs) in tenants.items():
        for cost in costs:
            queue.push(Job(tenant, cost, weight))
    left = {tenant: len(costs) for tenant, (_, costs) in tenants.items()}
    service = {tenant: [0.0] for tenant in tenants}
    while job := queue.pop():
        left[job.tenant] -= 1
        for tenant, done in service.items():
            done.append(done[-1] + (job.cost / job.weight if tenant == job.tenant else 0))
        if not left[job.tenant]:
            break  # one is no longer backlogged
    for one, (weight, costs) in tenants.items():
        for other, (other_weight, other_costs) in tenants.items():
            lead = [mine - theirs for mine, theirs in zip(service[one], service[other], strict=True)]
            bound = max(costs) / weight + max(other_costs) / other_weight
            assert max(lead) - min(lead) <= bound + 1e-9


@given(tenants)
def test_everything_comes_out_once_in_its_tenants_order(tenants):
    queue, pushed = FairQueue[Job](), defaultdict(list)
    for tenant, (weight, costs) in tenants.items():
        for cost in costs:
            pushed[tenant].append(Job(tenant, cost, weight))
            queue.push(pushed[tenant][-1])
    assert queue.cost == sum(sum(costs) for _, costs in tenants.values())
    assert queue.weight == sum(weight for weight, _ in tenants.values())
    popped = defaultdict(list)
    for job in drained(queue):
        popped[job.tenant].append(job)
    assert popped == pushed
    assert (len(queue), queue.cost, queue.weight) == (0, 0, 0)


@given(st.lists(st.tuples(st.sampled_from(["push", "pop", "remove"]), st.sampled_from("abc"), st.integers(1, 9))))
def test_its_figures_are_what_a_recount_gives(steps):
    queue, waiting = FairQueue[Job](), []
    for step, tenant, cost in steps:
        if step == "push":
            waiting.append(Job(tenant, cost, weight=ord(tenant) - 96))
            queue.push(waiting[-1])
        elif step == "pop":
            job = queue.pop()
            assert (job is None) == (not waiting)
            waiting = [other for other in waiting if other is not job]
        elif mine := [job for job in waiting if job.tenant == tenant]:
            job = mine[cost % len(mine)]
            assert queue.remove(job)
            assert not queue.remove(job)
            waiting.remove(job)
        assert (len(queue), queue.cost) == (len(waiting), sum(job.cost for job in waiting))
        assert queue.weight == sum({job.tenant: job.weight for job in waiting}.values())
        for name in "abc":
            mine = [job for job in waiting if job.tenant == name]
            assert (queue.num_jobs(name), queue.cost_of(name)) == (len(mine), sum(job.cost for job in mine))


def test_who_comes_late_neither_pays_nor_gains_for_having_been_away():
    queue = FairQueue[Job]()
    for _ in range(100):
        queue.push(Job("early"))
    for _ in range(50):
        queue.pop()
    for _ in range(10):
        queue.push(Job("late"))
    assert Counter(queue.pop().tenant for _ in range(10)) == {"early": 5, "late": 5}


def test_a_burst_served_alone_is_remembered_until_the_clock_has_caught_up():
    queue = FairQueue[Job]()
    queue.push(Job("greedy", cost=10))
    queue.pop()
    queue.push(Job("greedy", cost=1))
    queue.push(Job("modest", cost=1))
    assert [job.tenant for job in drained(queue)] == ["modest", "greedy"]


def test_a_rest_makes_all_equal_again():
    queue = FairQueue[Job]()
    queue.push(Job("greedy", cost=10))
    queue.pop()
    queue.rest()
    queue.push(Job("greedy", cost=1))
    queue.push(Job("modest", cost=1))
    assert [job.tenant for job in drained(queue)] == ["greedy", "modest"]


def test_who_leaves_unserved_pays_nothing():
    queue, jobs = FairQueue[Job](), [Job("leaver", cost=1000) for _ in range(5)]
    for job in jobs:
        queue.push(job)
    for job in jobs:
        queue.remove(job)
    queue.push(Job("other"))
    queue.push(last := Job("leaver"))
    assert {queue.pop(), queue.pop()} >= {last}


def test_tenants_that_are_gone_are_forgotten():
    queue = FairQueue[Job]()
    for i in range(5000):
        queue.push(Job(f"tenant {i}"))
        queue.push(Job("regular"))
        queue.pop()
        queue.pop()
    assert len(queue._finishes) < 200


def test_live_goes_before_batch_and_batch_in_fair_order_after():
    queue = PriorityQueue[Job](ageing_s=30)
    for tenant in "aab":
        queue.push(Job(tenant, priority=Priority.BATCH), now_s=0)
    queue.push(live := Job("c"), now_s=1)
    assert queue.pop(2) is live
    assert [queue.pop(2).tenant for _ in range(3)] == ["a", "b", "a"]
    assert queue.pop(2) is None


@given(st.integers(1, 40), st.integers(0, 100))
def test_batch_waits_its_ageing_and_then_its_turn_under_any_live_load(num_tenants, ageing_s):
    """A live job of every tenant arrives each second and one is served: the batch job still goes."""
    queue = PriorityQueue[Job](ageing_s)
    queue.push(batch := Job("batch", priority=Priority.BATCH), now_s=0)
    for second in range(ageing_s + num_tenants + 2):
        for tenant in range(num_tenants):
            queue.push(Job(str(tenant)), second)
        if queue.pop(second) is batch:
            break
    assert ageing_s <= second <= ageing_s + num_tenants + 1


def test_an_aged_job_stands_behind_the_live_jobs_that_wait_and_before_later_ones():
    queue = PriorityQueue[Job](ageing_s=10)
    before, batch, after = Job("a"), Job("a", priority=Priority.BATCH), Job("a")
    queue.push(batch, 0)
    queue.push(before, 5)
    assert queue.pop(5) is before
    queue.push(Job("a"), 6)
    assert queue.pop(10).priority is Priority.LIVE
    queue.push(after, 11)
    assert [queue.pop(11), queue.pop(11)] == [batch, after]


def test_a_bypassed_batch_tenant_saves_up_no_claims():
    queue = PriorityQueue[Job](ageing_s=10)
    for _ in range(20):
        queue.push(Job("batch", priority=Priority.BATCH), 0)
    for _ in range(100):
        queue.push(Job("live"), 0)
    for _ in range(50):
        assert queue.pop(1).tenant == "live"
    assert Counter(queue.pop(10).tenant for _ in range(20)) == {"batch": 10, "live": 10}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(Priority), st.integers(0, 50)), max_size=30))
def test_jobs_can_be_taken_out_wherever_they_are(jobs):
    queue, now_s = PriorityQueue[Job](ageing_s=20), 0
    waiting = []
    for tenant, priority, wait_s in jobs:
        now_s += wait_s
        waiting.append(Job(tenant, priority=priority))
        queue.push(waiting[-1], now_s)
        queue.push(Job(tenant), now_s)
        queue.pop(now_s)
    left = len(queue)
    for job in waiting:
        before = len(queue)
        queue.remove(job)
        left -= before - len(queue)
    assert len(queue) == left
    popped = [queue.pop(now_s) for _ in range(left)]
    assert None not in popped
    assert not set(popped) & set(waiting)
    assert queue.pop(now_s) is None


def test_what_is_ahead_of_a_newcomer():
    queue = PriorityQueue[Job](ageing_s=30)
    for _ in range(10):
        queue.push(Job("flood", cost=2), 0)
    queue.push(Job("other", cost=3, weight=3), 0)
    queue.push(Job("batch", cost=7, priority=Priority.BATCH), 0)
    assert queue.cost_ahead(Job("new")) == 0
    assert queue.cost_ahead(Job("other", weight=3)) == 3 * 4 / 3
    assert queue.cost_ahead(Job("flood")) == 23
    assert queue.cost_ahead(Job("new", priority=Priority.BATCH)) == 30


queued = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 20)), max_size=40)


@given(queued, st.integers(0, 20), st.sampled_from("abcde"), st.sampled_from(Priority))
def test_nobody_is_told_to_wait_much_less_than_it_takes(jobs, num_served, tenant, priority):
    """What is served first is no more than what was told and one job of each tenant."""
    weights = {"a": 1, "b": 2, "c": 4, "d": 8, "e": 1}
    queue = PriorityQueue[Job](ageing_s=1000)
    for name, cost in jobs:
        queue.push(Job(name, cost, weights[name]), 0)
    for _ in range(min(num_served, len(queue))):
        queue.pop(0)
    newcomer = Job(tenant, 1, weights[tenant], priority)
    told, served = queue.cost_ahead(newcomer), 0
    queue.push(newcomer, 0)
    while (job := queue.pop(0)) is not newcomer:
        served += job.cost
    largest = {name: max([cost for other, cost in jobs if other == name], default=0) for name in weights}
    one_of_each = sum(largest.values()) + largest[tenant] / weights[tenant] * sum(weights.values())
    assert served <= told + one_of_each
