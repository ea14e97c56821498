"""Replicas, attempts, retries and ejections in metrics, through a gateway with two vision encoders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog

from gateway.metrics.live import State, state
from gateway.routing.replica import ReplicaSnapshot
from tests.metrics_lab import Page
from tests.redis_lab import RedisServer
from tests.unit.gateway.fakes import STARTED, Events, FakeVision, chunk, forever, raising
from tests.unit.gateway.lab import Lab, chat_request, image, kinds, refused, running_lab, text
from tests.unit.gateway.routing.lab import Fleet, fleet, heard
from trichord.errors import InternalError, UnavailableError
from trichord.v1 import decoder_pb2

ATTEMPTS, RETRIES = "trichord_replica_attempts_total", "trichord_retries_total"
VISION = "vision-encoder"
GONE = UnavailableError("Gone.", retry_after_s=0.01)


@pytest.fixture
async def two() -> AsyncIterator[Fleet[FakeVision]]:
    async with fleet(FakeVision, 2) as running:
        yield running


@pytest.fixture
async def lab(two: Fleet[FakeVision], redis_server: RedisServer) -> AsyncIterator[Lab]:
    """Its vision is the fleet."""
    for index in range(2):
        await two.say(index, serving=True)
    async with running_lab(redis_server, vision=two.target) as running:
        await heard(running.cluster.watched.services[VISION].snapshot)
        yield running


def everywhere(two: Fleet[FakeVision], error: Exception) -> None:
    for fake in two.fakes:
        fake.step = raising(error)


async def test_attempts_are_of_every_service(lab: Lab, page: Page) -> None:
    await lab.ask(text(), image())
    for service in (VISION, "llm-decoder"):
        assert page.gained(ATTEMPTS, service=service, outcome="ok") == page.gained(ATTEMPTS, service=service) > 1
    assert page.gained(RETRIES) == 0


async def test_a_retry_is_an_attempt_more(lab: Lab, two: Fleet[FakeVision], page: Page) -> None:
    asked = 0

    async def fails_once(content: bytes) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise GONE

    for fake in two.fakes:
        fake.step = fails_once
    assert kinds(await lab.ask(image()))[-1] == "finished"
    assert page.gained(RETRIES, service=VISION, outcome="retried") == page.gained(RETRIES) == 1
    assert page.gained(ATTEMPTS, service=VISION, outcome="UNAVAILABLE") == 1


async def test_a_spent_budget_of_retries_is_seen(lab: Lab, two: Fleet[FakeVision], page: Page) -> None:
    everywhere(two, GONE)
    lab.cluster.watched.services[VISION]._pool.budget._tokens = -9.0  # type: ignore[attr-defined]
    with refused():
        await lab.ask(image())
    assert page.gained(RETRIES, service=VISION, outcome="budget_spent") == page.gained(RETRIES) == 1


async def test_a_reader_who_leaves_is_no_failure_of_the_replica_that_answers(lab: Lab, page: Page) -> None:
    async def stuck(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        await forever(b"")

    lab.decoder.answer = stuck
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    await call.read()
    await call.read()
    call.cancel()
    await page.until(1, "trichord_requests_total")
    assert page.gained(ATTEMPTS, service="llm-decoder", outcome="ok") == page.gained(ATTEMPTS) == 2


async def test_an_ejection_is_counted_and_shows_in_the_replicas(lab: Lab, two: Fleet[FakeVision], page: Page) -> None:
    assert replicas(page) == {"usable": 2}
    two.fakes[0].step = raising(InternalError("Bug."))
    with structlog.testing.capture_logs():  # each failure is logged with its traceback, which takes longer than it does
        for i in range(20):
            await asyncio.gather(*(lab.ask(image(bytes([i, j]))) for j in range(4)), return_exceptions=True)
            if page.gained("trichord_ejections_total"):
                break
    assert page.gained("trichord_ejections_total", service=VISION) == page.gained("trichord_ejections_total") == 1
    assert page.gained(ATTEMPTS, service=VISION, outcome="INTERNAL") > 0
    assert replicas(page) == {"usable": 1, "ejected": 1}


async def test_a_replica_that_says_it_cannot_serve_is_unhealthy(lab: Lab, two: Fleet[FakeVision], page: Page) -> None:
    await two.say(0, serving=False)
    await page.until(1, "trichord_replicas", service=VISION, state="unhealthy")
    assert replicas(page) == {"usable": 1, "unhealthy": 1}
    assert page.value("trichord_replicas", service="audio-encoder") == 1


def replicas(page: Page) -> dict[str, float]:
    """The vision encoder's, by state."""
    told = {
        sample.labels["state"]: sample.value for sample in page.samples() if is_of_vision(sample.name, sample.labels)
    }
    return {state: number for state, number in told.items() if number}


def is_of_vision(name: str, labels: dict[str, str]) -> bool:
    return name == "trichord_replicas" and labels["service"] == VISION


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "usable"),
        ({"health": "unknown"}, "unknown"),
        ({"health": "unreachable"}, "unhealthy"),
        ({"breaker": "half_open", "health": "unreachable"}, "broken"),
        ({"pushed_back_for_s": 1.0, "breaker": "open"}, "pushed_back"),
        ({"ejected_for_s": 0.1, "pushed_back_for_s": 1.0}, "ejected"),
        ({"is_leaving": True, "ejected_for_s": 0.1}, "leaving"),
    ],
)
def test_a_replica_has_one_state_the_worst(fields: dict[str, object], expected: State) -> None:
    well: dict[str, object] = {
        "address": "127.0.0.1:1",
        "health": "serving",
        "is_leaving": False,
        "num_calls": 0,
        "cost": 0.0,
        "breaker": "closed",
        "ejected_for_s": 0.0,
        "pushed_back_for_s": 0.0,
    }
    assert state(ReplicaSnapshot(**{**well, **fields})) == expected  # type: ignore[arg-type]
