"""One leader at a time, whatever clocks say and whoever dies."""

import asyncio

import pytest

from autoscaler.direct.lease import SURE, Lease
from tests.unit.autoscaler.kube_lab import KubeLab
from trichord.errors import ForbiddenError, UnavailableError

DURATION_S = 30.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def standing(kube: KubeLab, name: str, clock: Clock) -> Lease:
    return Lease(kube.api(), "scaler", name, DURATION_S, clock)


def holder(kube: KubeLab) -> str:
    return str(kube.leases["scaler"]["spec"]["holderIdentity"])


async def test_the_first_makes_it_and_the_second_stands_by(kube: KubeLab) -> None:
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    await one.ask()
    await other.ask()
    assert one.remaining_s == DURATION_S * SURE
    assert other.remaining_s == 0
    assert holder(kube) == one.identity
    assert kube.leases["scaler"]["spec"]["leaseTransitions"] == 1
    assert kube.leases["scaler"]["spec"]["leaseDurationSeconds"] == DURATION_S


async def test_both_make_it_at_once_and_one_has_it(kube: KubeLab) -> None:
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    await asyncio.gather(one.ask(), other.ask())
    assert sorted([one.remaining_s, other.remaining_s]) == [0, DURATION_S * SURE]


async def test_a_dead_leaders_lease_is_taken_only_after_the_leader_has_stopped(kube: KubeLab) -> None:
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    await one.ask()
    await other.ask()
    clock.now_s += DURATION_S - 0.1
    await other.ask()
    assert other.remaining_s == 0
    assert one.remaining_s == 0, "it stops before another may begin"
    clock.now_s += 0.1
    await other.ask()
    assert other.remaining_s > 0
    assert holder(kube) == other.identity
    assert kube.leases["scaler"]["spec"]["leaseTransitions"] == 2


async def test_a_renewal_starts_the_watchers_clock_anew(kube: KubeLab) -> None:
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    for _ in range(10):
        await one.ask()
        await other.ask()
        clock.now_s += DURATION_S - 1
    assert holder(kube) == one.identity


async def test_times_of_another_clock_mean_nothing(kube: KubeLab) -> None:
    """The leader's clock may be an hour wrong: only that the record changes counts."""
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    await one.ask()
    kube.leases["scaler"]["spec"]["renewTime"] = "2020-01-01T00:00:00.000000Z"
    await other.ask()
    assert other.remaining_s == 0


async def test_a_leader_whose_lease_was_taken_stops_at_once(kube: KubeLab) -> None:
    clock = Clock()
    one = standing(kube, "one", clock)
    await one.ask()
    kube.leases["scaler"]["spec"]["holderIdentity"] = "thief"
    kube.touch(kube.leases["scaler"])
    await one.ask()
    assert one.remaining_s == 0


async def test_a_conflicting_renewal_stops_the_leader(kube: KubeLab) -> None:
    one = standing(kube, "one", Clock())
    await one.ask()
    kube.before["PUT leases"] = lambda: kube.touch(kube.leases["scaler"])
    await one.ask()
    assert one.remaining_s == 0


@pytest.mark.parametrize(("status", "error"), [(500, UnavailableError), (429, UnavailableError), (403, ForbiddenError)])
async def test_a_renewal_that_fails_lets_it_run_out(kube: KubeLab, status: int, error: type[Exception]) -> None:
    clock = Clock()
    one = standing(kube, "one", clock)
    await one.ask()
    kube.faults["GET leases"] = [-status]
    clock.now_s += 5
    with pytest.raises(error):
        await one.ask()
    assert one.remaining_s == DURATION_S * SURE - 5
    clock.now_s += DURATION_S
    assert one.remaining_s == 0


async def test_the_time_counts_from_before_the_renewal_was_asked_for(kube: KubeLab) -> None:
    clock = Clock()
    one = standing(kube, "one", clock)
    await one.ask()

    def slow() -> None:
        clock.now_s += 7

    kube.before["PUT leases"] = slow
    await one.ask()
    assert one.remaining_s == DURATION_S * SURE - 7


async def test_a_released_lease_is_free_at_once(kube: KubeLab) -> None:
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    await one.ask()
    await one.release()
    await other.ask()
    assert (one.remaining_s, holder(kube)) == (0, other.identity)


async def test_who_does_not_hold_it_releases_nothing(kube: KubeLab) -> None:
    clock = Clock()
    one, other = standing(kube, "one", clock), standing(kube, "other", clock)
    await one.ask()
    await other.release()
    assert holder(kube) == one.identity


async def test_a_restarted_container_does_not_take_its_predecessors_lease_for_its_own(kube: KubeLab) -> None:
    clock = Clock()
    before, after = standing(kube, "pod-0", clock), standing(kube, "pod-0", clock)
    await before.ask()
    await after.ask()
    assert after.remaining_s == 0
    clock.now_s += DURATION_S
    await after.ask()
    assert after.remaining_s > 0
