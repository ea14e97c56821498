"""A lane: slots, turns, bounds, and what those are told who cannot be served in time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.drain_rate import DrainRate
from gateway.admission.lane import MAX_RETRY_S, Lane, LaneBounds
from gateway.admission.lanes import Lanes
from gateway.admission.plan import Plan, Plans
from gateway.admission.priority_queue import Priority
from tests.metrics_lab import own_metrics
from trichord.errors import DeadlineError, OverloadedError


class Bench:
    """A lane with a clock in hand, and who got a slot in which order."""

    def __init__(self, **bounds: float) -> None:
        self.now_s = 100.0
        self.metrics = own_metrics()
        all_bounds = {"num_slots": 1, "max_queued": 1000, "max_queued_per_tenant": 50, "batch_ageing_s": 30, **bounds}
        self.lane = Lane("image", LaneBounds(**all_bounds), lambda: self.now_s)
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def slot(self, tenant="a", cost=1, weight=1, priority=Priority.LIVE, deadline_s=60.0) -> AsyncIterator[None]:
        async with self.lane.slot(tenant, cost, weight, priority, deadline_s):
            self.order.append(tenant)
            yield

    async def hold(self, held_s: float, **asked) -> None:
        """Takes a slot for so long by the lane's clock: what the lane measures."""
        async with self.slot(**asked):
            self.now_s += held_s

    async def wait(self, **asked) -> asyncio.Task[None]:
        """Somebody who waits until the slot is free, and gives it back at once."""

        async def wait() -> None:
            async with self.slot(**asked):
                await asyncio.sleep(0)

        self.tasks.append(asyncio.create_task(wait()))
        await asyncio.sleep(0)
        return self.tasks[-1]

    async def finish(self) -> None:
        await asyncio.gather(*self.tasks)

    def sheds(self) -> dict[str, float]:
        """Those turned away, by reason."""
        labels = self.metrics.labels("trichord_sheds_total")
        return {told["reason"]: self.metrics.gained("trichord_sheds_total", **told) for told in labels}

    @property
    def depth(self) -> int:
        return self.lane.num_queued


async def test_no_more_than_its_slots_are_used_at_once_and_all_get_their_turn():
    bench, inside, most = Bench(num_slots=3), 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with bench.slot():
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(40)))
    assert (most, len(bench.order), bench.depth) == (3, 40, 0)


async def test_turns_go_by_weight():
    bench = Bench()
    async with bench.slot("holder"):
        for tenant, weight in (("a", 1), ("b", 3)):
            for _ in range(40):
                await bench.wait(tenant=tenant, weight=weight)
    await bench.finish()
    assert Counter(bench.order[1:41]) == {"a": 10, "b": 30}


async def test_live_goes_before_batch_until_that_has_aged():
    bench = Bench(batch_ageing_s=30)
    async with bench.slot("holder"):
        await bench.wait(tenant="batch", priority=Priority.BATCH)
        await bench.wait(tenant="live")
    await bench.finish()
    async with bench.slot("holder"):
        await bench.wait(tenant="batch", priority=Priority.BATCH)
        bench.now_s += 31
        await bench.wait(tenant="live")
    await bench.finish()
    assert bench.order == ["holder", "live", "batch", "holder", "live", "batch"]


async def test_a_waiter_that_is_cancelled_leaves_no_trace():
    bench = Bench()
    async with bench.slot():
        waiter = await bench.wait(tenant="gone")
        assert bench.depth == 1
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        assert bench.depth == 0
    async with bench.slot("next"):
        assert bench.order == ["a", "next"]


async def test_a_slot_granted_to_one_who_is_just_leaving_is_passed_on():
    bench = Bench()
    async with bench.slot():
        leaving = await bench.wait(tenant="leaving")
        await bench.wait(tenant="next")
        leaving.cancel()  # and in the same turn of the loop the slot comes free
    await asyncio.gather(leaving, return_exceptions=True)
    await bench.tasks[1]
    assert bench.order == ["a", "next"]


@given(st.lists(st.sampled_from(["wait", "cancel", "free"]), max_size=30), st.integers(1, 3))
def test_no_slot_is_ever_lost(steps, num_slots):
    async def play() -> None:
        bench, gates = Bench(num_slots=num_slots, max_queued=1000, max_queued_per_tenant=1000), []

        async def work(gate: asyncio.Event) -> None:
            async with bench.slot():
                await gate.wait()

        tasks = []
        for i, step in enumerate(steps):
            if step == "wait":
                gates.append(asyncio.Event())
                tasks.append(asyncio.create_task(work(gates[-1])))
            elif step == "cancel" and tasks:
                tasks[i % len(tasks)].cancel()
            elif gates:
                gates[i % len(gates)].set()
            if i % 3:
                await asyncio.sleep(0)
        for gate in gates:
            gate.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert bench.depth == 0
        async with asyncio.timeout(20):
            await asyncio.gather(*(bench.hold(0) for _ in range(num_slots)))

    asyncio.run(play())


async def test_who_fails_inside_gives_the_slot_back():
    bench = Bench()
    with pytest.raises(ZeroDivisionError):
        async with bench.slot():
            raise ZeroDivisionError
    async with bench.slot("next"):
        assert bench.order == ["a", "next"]


async def test_a_full_queue_says_when_to_come_back_by_what_it_measured():
    bench = Bench(num_slots=2, max_queued=3, max_queued_per_tenant=3)
    for _ in range(5):
        await bench.hold(4.0, cost=2)  # two seconds for one unit of work, on each of two slots
    async with bench.slot(), bench.slot():
        for tenant in "abc":
            await bench.wait(tenant=tenant, cost=3)
        with pytest.raises(OverloadedError, match=r"image queue is full\. Try again in 2\.0 s") as refused:
            await bench.hold(0, tenant="d", cost=10)  # nothing of its own waits: it would be next
        assert refused.value.retry_after_s == pytest.approx(2.0)  # two slots come free every four seconds
        with pytest.raises(OverloadedError) as refused:
            await bench.hold(0, tenant="d", cost=1, priority=Priority.BATCH)
        assert refused.value.retry_after_s == pytest.approx(3 + 3 + 3 + 2)  # behind all that waits, at a unit a second
    await bench.finish()
    assert bench.sheds() == {"queue_full": 2}


async def test_a_wait_that_cannot_meet_the_deadline_is_refused_at_once():
    bench = Bench()
    await bench.hold(2.0)
    async with bench.slot():
        for _ in range(4):
            await bench.wait(deadline_s=100)
        with pytest.raises(OverloadedError, match="longer than the request's deadline") as refused:
            await bench.hold(0, deadline_s=7)
        assert refused.value.retry_after_s == pytest.approx(10 - 7)
        await bench.wait(deadline_s=10)
    await bench.finish()
    assert bench.sheds() == {"deadline": 1}


async def test_while_nothing_is_measured_a_guess_is_told():
    bench = Bench(max_queued=0)
    async with bench.slot():
        with pytest.raises(OverloadedError) as refused:
            await bench.hold(0)
    assert refused.value.retry_after_s == 1.0


async def test_a_wait_is_never_told_as_longer_than_five_minutes():
    bench = Bench(max_queued=0)
    await bench.hold(10_000)
    async with bench.slot():
        with pytest.raises(OverloadedError) as refused:
            await bench.hold(0)
    assert refused.value.retry_after_s == MAX_RETRY_S


async def test_a_flood_leaves_room_for_those_who_come_later():
    bench = Bench(max_queued=16, max_queued_per_tenant=16)
    async with bench.slot("holder"):
        for tenant in ("flood", "flood too", "modest"):
            for _ in range(17):
                await bench.wait(tenant=tenant)
        assert bench.lane.num_queued == 8 + 4 + 2
    ends = await asyncio.gather(*bench.tasks, return_exceptions=True)
    assert all("as it takes of one tenant" in error.message for error in ends if error)
    assert Counter(bench.order) == {"holder": 1, "flood": 8, "flood too": 4, "modest": 2}


async def test_batch_takes_half_the_room():
    bench = Bench(max_queued=100, max_queued_per_tenant=4)
    async with bench.slot("holder"):
        for _ in range(2):
            await bench.wait(priority=Priority.BATCH)
        with pytest.raises(OverloadedError):
            await bench.hold(0, priority=Priority.BATCH)
        await bench.wait()
    await bench.finish()
    assert bench.order == ["holder", "a", "a", "a"]


async def test_who_waits_past_the_deadline_is_told():
    bench = Bench()
    async with bench.slot():
        with pytest.raises(DeadlineError, match="passed in the image queue"):
            await bench.hold(0, deadline_s=0.01)
        assert bench.depth == 0
    assert bench.sheds() == {"expired": 1}


async def test_one_lane_does_not_wait_for_another_and_weights_are_the_plans():
    metrics, bounds = own_metrics(), LaneBounds(1, 100, 10, 30)
    lanes = Lanes({name: Lane(name, bounds) for name in ("text", "image")}, Plans(Plan(), {"vip": Plan(weight=3)}))
    order: list[str] = []

    async def wait(tenant: str) -> None:
        async with lanes.slot("image", tenant, 1, Priority.LIVE, 60):
            order.append(tenant)

    async with lanes.slot("image", "a", 1, Priority.LIVE, 60):
        tasks = [asyncio.create_task(wait(tenant)) for tenant in ["b"] * 4 + ["vip"] * 4]
        await asyncio.sleep(0)
        async with asyncio.timeout(10), lanes.slot("text", "a", 1, Priority.LIVE, 60) as ticket:
            assert ticket.waited_s >= 0
    await asyncio.gather(*tasks)
    assert Counter(order[:4]) == {"vip": 3, "b": 1}
    assert metrics.gained("trichord_queue_delay_seconds_count", modality="image") == 1 + 8
    assert metrics.gained("trichord_queue_delay_seconds_count", modality="text") == 1


def test_the_rate_is_that_of_all_slots_and_follows_the_work():
    rate = DrainRate(num_slots=4)
    assert rate.wait_s(10) is None
    for _ in range(100):
        rate.finished(cost=2, held_s=1.0)
    assert rate.wait_s(0) == pytest.approx(0.25)
    assert rate.wait_s(8) == pytest.approx(1.25)
    for _ in range(100):
        rate.finished(cost=2, held_s=4.0)
    assert rate.wait_s(8) == pytest.approx(5.0, rel=0.05)
