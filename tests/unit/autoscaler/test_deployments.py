"""Direct mode against an API server that conflicts, denies, lags and hangs: nothing wrong is ever written."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from autoscaler.actuator import Replicas
from autoscaler.direct import backoff
from autoscaler.direct import deployments as module
from autoscaler.direct.deployments import Deployments
from autoscaler.direct.lease import Lease
from tests.unit.autoscaler.kube_lab import NAMESPACE, KubeLab
from trichord.errors import ConflictError, ForbiddenError, UnavailableError

VISION = "r-vision-encoder"


class HeldLease(Lease):
    """A lease whose time is the test's to say; the record is the real one."""

    told_s: float | None = None

    @property
    def remaining_s(self) -> float:
        return super().remaining_s if self.told_s is None else self.told_s


@pytest.fixture
async def lease(kube: KubeLab) -> HeldLease:
    lease = HeldLease(kube.api(), "scaler", "one", 60.0)
    await lease.ask()
    return lease


@pytest.fixture
async def deployments(kube: KubeLab, lease: HeldLease) -> AsyncIterator[Deployments]:
    kube.add(VISION, replicas=2, ready=1)
    kube.add("r-llm-decoder", replicas=3)
    kube.add("something-else", replicas=9)
    acting = Deployments(kube.api(), lease, "r-")
    yield acting
    await acting.close()


async def test_it_tells_the_deployments_of_its_release(deployments: Deployments) -> None:
    assert await deployments.replicas({}) == {"vision": Replicas(2, 1), "decoder": Replicas(3, 3)}


async def test_it_scales_and_says_why(kube: KubeLab, deployments: Deployments) -> None:
    seen = (await deployments.replicas({}))["vision"]
    assert await deployments.scale("vision", seen, 5, "Up from 2 to 5: 90 tiles wait.")
    assert kube.writes == [(VISION, 5)]
    [event] = kube.events
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": VISION,
        "namespace": NAMESPACE,
        "uid": f"uid-{VISION}",
    }
    assert (event["reason"], event["type"]) == ("ScaledUp", "Normal")
    assert event["message"] == "Up from 2 to 5: 90 tiles wait."


@pytest.mark.parametrize(("before", "after", "reason"), [(0, 1, "Woken"), (1, 0, "FellAsleep"), (3, 2, "ScaledDown")])
async def test_zero_is_a_number(kube: KubeLab, deployments: Deployments, before: int, after: int, reason: str) -> None:
    kube.add(VISION, before)
    seen = (await deployments.replicas({}))["vision"]
    assert await deployments.scale("vision", seen, after, "why")
    assert kube.replicas(VISION) == after
    assert kube.events[0]["reason"] == reason


async def test_a_write_that_meets_another_is_made_again(kube: KubeLab, deployments: Deployments) -> None:
    """A status update has touched the object: the replicas are still those that were seen."""
    kube.before["PUT scale"] = lambda: kube.touch(kube.deployments[VISION])
    assert await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.writes == [(VISION, 5)]
    assert kube.calls["PUT scale"] == 2


async def test_what_another_has_scaled_meanwhile_stays(kube: KubeLab, deployments: Deployments) -> None:
    kube.before["PUT scale"] = lambda: kube.set_replicas(VISION, 7)
    with pytest.raises(ConflictError, match="was scaled to 7 by something else, while 2 were seen"):
        await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.writes == []
    assert kube.replicas(VISION) == 7


async def test_conflicts_without_end_are_given_up_on(kube: KubeLab, deployments: Deployments) -> None:
    kube.faults["PUT scale"] = [-409]
    with pytest.raises(ConflictError):
        await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.calls["PUT scale"] == 3
    kube.faults.clear()
    assert await deployments.scale("vision", Replicas(2, 1), 5, "why")


async def test_a_gap_in_what_was_watched_writes_nothing_wrong(kube: KubeLab, deployments: Deployments) -> None:
    kube.freeze_cache()
    kube.set_replicas(VISION, 8)
    seen = (await deployments.replicas({}))["vision"]
    assert seen == Replicas(2, 1)
    with pytest.raises(ConflictError):
        await deployments.scale("vision", seen, 1, "why")
    assert kube.replicas(VISION) == 8
    kube.cache = None
    assert (await deployments.replicas({}))["vision"].desired == 8


async def test_who_stands_by_writes_nothing(kube: KubeLab, lease: HeldLease, deployments: Deployments) -> None:
    lease.told_s = 0.0
    assert not await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.calls["GET scale"] == kube.calls["PUT scale"] == 0
    assert kube.events == []


async def test_a_lease_lost_between_reading_and_writing_stops_the_write(
    kube: KubeLab, lease: HeldLease, deployments: Deployments
) -> None:
    def lose() -> None:
        lease.told_s = 0.0

    kube.before["GET scale"] = lose
    with pytest.raises(ConflictError, match="lease was lost"):
        await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.calls["GET scale"] == 1
    assert kube.calls["PUT scale"] == 0


async def test_a_lease_lost_between_two_tries_stops_the_second(
    kube: KubeLab, lease: HeldLease, deployments: Deployments
) -> None:
    def lose() -> None:
        lease.told_s = 0.0
        kube.touch(kube.deployments[VISION])

    kube.before["PUT scale"] = lose
    with pytest.raises(ConflictError, match="lease was lost"):
        await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.writes == []
    assert kube.calls["PUT scale"] == 1


async def test_a_write_that_outlasts_the_lease_is_refused_by_its_version(
    kube: KubeLab, lease: HeldLease, deployments: Deployments
) -> None:
    """It hangs on the way, the lease passes on, the new leader scales; then the old write arrives."""
    lease.told_s = 0.2
    reached = asyncio.Event()

    def hang() -> None:
        reached.set()
        kube.set_replicas(VISION, 4)  # the new leader, while this write is on its way

    kube.before["PUT scale"] = hang
    with pytest.raises(ConflictError):
        await deployments.scale("vision", Replicas(2, 1), 9, "why")
    assert reached.is_set()
    assert (kube.replicas(VISION), kube.writes) == (4, [])


async def test_no_write_takes_longer_than_the_lease_lasts(
    kube: KubeLab, lease: HeldLease, deployments: Deployments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 3600.0)
    lease.told_s = 0.1
    kube.before["GET scale"] = lambda: setattr(kube, "hung", asyncio.Event())
    with pytest.raises(UnavailableError, match="did not answer"):
        await asyncio.wait_for(deployments.scale("vision", Replicas(2, 1), 5, "why"), 60)
    assert (kube.writes, kube.calls["PUT scale"]) == ([], 1), "the client repeats nothing by itself"
    assert kube.hung
    kube.hung.set()


async def test_a_denied_list_names_the_right_that_is_missing(kube: KubeLab, deployments: Deployments) -> None:
    kube.faults["GET deployments"] = [-403]
    with pytest.raises(ForbiddenError, match=f"list deployments in {NAMESPACE}. Check its Role"):
        await deployments.replicas({})
    with pytest.raises(ForbiddenError):
        await deployments.replicas({})
    assert kube.calls["GET deployments"] == 1, "the second time is too early to ask again"


async def test_a_denied_write_names_the_right_and_leaves_the_others_alone(
    kube: KubeLab, deployments: Deployments
) -> None:
    kube.faults["PUT scale"] = [403]
    with pytest.raises(ForbiddenError, match="update deployments/scale"):
        await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert await deployments.scale("decoder", Replicas(3, 3), 4, "why")
    with pytest.raises(ForbiddenError):
        await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.writes == [("r-llm-decoder", 4)]


async def test_a_denied_event_does_not_undo_the_scaling(kube: KubeLab, deployments: Deployments) -> None:
    kube.faults["POST events"] = [-403]
    with structlog.testing.capture_logs() as logs:
        assert await deployments.scale("vision", Replicas(2, 1), 5, "why")
    assert kube.replicas(VISION) == 5
    assert [entry["event"] for entry in logs] == ["no event was written"]


async def test_it_answers_again_after_an_outage(kube: KubeLab, deployments: Deployments, monkeypatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.0)
    kube.faults["GET deployments"] = [500, 503, 429]
    for _ in range(3):
        with pytest.raises(UnavailableError):
            await deployments.replicas({})
    assert "vision" in await deployments.replicas({})


async def test_closing_gives_the_lease_up(kube: KubeLab, lease: HeldLease, deployments: Deployments) -> None:
    await deployments.close()
    assert kube.leases["scaler"]["spec"]["holderIdentity"] == ""


async def test_a_deployment_that_is_gone_is_not_told_of(kube: KubeLab, deployments: Deployments) -> None:
    del kube.deployments[VISION]
    assert set(await deployments.replicas({})) == {"decoder"}


def test_backing_off_doubles_up_to_a_minute_and_forgets() -> None:
    now_s = 0.0
    error = UnavailableError("away")
    waiting = backoff.Backoff(lambda: now_s)
    waiting.check()
    for expected_s in (1, 2, 4, 8, 16, 32, 60, 60):
        waiting.failed(error)
        now_s += expected_s - 0.01
        with pytest.raises(UnavailableError):
            waiting.check()
        now_s += 0.01
        waiting.check()
    waiting.succeeded()
    waiting.failed(error)
    now_s += 1
    waiting.check()
