"""Streams over several real decoders: affinity, and what happens when one fails before or after the first token."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from gateway.backends import Decoder
from gateway.routing.policy import Load, ranked
from tests.unit.gateway.fakes import FINISHED, STARTED, Context, Events, FakeDecoder, chunk, forever, hello
from tests.unit.gateway.routing.lab import MAX_MESSAGE_BYTES, SOON_S, Fleet, black_hole, fleet, heard, settings, until
from trichord.errors import ContextLengthError, OverloadedError, TrichordError, UnavailableError
from trichord.v1 import decoder_pb2

Decoders = Fleet[FakeDecoder]
ANSWER = ["started", "chunk", "chunk", "finished"]


@pytest.fixture
async def two() -> AsyncIterator[Decoders]:
    async with fleet(FakeDecoder, 2) as running:
        yield running


@contextlib.asynccontextmanager
async def decoder(target: str, *, is_heard: bool = True, **fields: Any) -> AsyncIterator[Decoder]:
    """A decoder, if ``is_heard`` once every replica's health is known: it moves conversations until then."""
    made = Decoder(target, MAX_MESSAGE_BYTES, settings(**fields))
    if is_heard:
        await heard(made.snapshot)
    yield made
    await made.close()


def generate(made: Decoder, key: bytes = b"", timeout_s: float = SOON_S) -> Any:
    return made.generate(decoder_pb2.GenerateRequest(request_id="one"), timeout_s, key)


async def kinds(made: Decoder, key: bytes = b"", timeout_s: float = SOON_S) -> list[str]:
    """All events of an answer."""
    async with contextlib.aclosing(generate(made, key, timeout_s)) as events:
        return [event.WhichOneof("event") async for event in events]


def key_of(running: Decoders, index: int) -> bytes:
    """A conversation whose first choice is that replica."""
    pool = [Load(address, 0, 0.0) for address in running.addresses]
    keys = (str(i).encode() for i in range(1000))
    return next(key for key in keys if ranked(pool, key)[0].address == running.addresses[index])


def stuck_after(*events: decoder_pb2.GenerateResponse) -> Callable[[decoder_pb2.GenerateRequest], Events]:
    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        for event in events:
            yield event
        await forever(b"")

    return answer


def failing_after(
    error: TrichordError, *events: decoder_pb2.GenerateResponse
) -> Callable[[decoder_pb2.GenerateRequest], Events]:
    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        for event in events:
            yield event
        raise error

    return answer


# The end


async def left_at_the_last(running: Decoders) -> list[str]:
    """The events of an answer whose reader leaves with the last one."""
    seen = []
    async with decoder(running.addresses[0]) as made, contextlib.aclosing(generate(made)) as events:
        async for event in events:
            seen.append(event.WhichOneof("event"))
            if event.HasField("finished"):
                break
    return seen


async def test_a_replica_ends_its_answer_itself_before_the_last_event_is_passed_on(two: Decoders) -> None:
    ends: list[str] = []

    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        for event in (STARTED, chunk("a"), chunk("b"), FINISHED):
            yield event
        await asyncio.sleep(0.05)
        ends.append("by itself")

    two.fakes[0].answer = answer
    assert await left_at_the_last(two) == ANSWER
    assert ends == ["by itself"]


async def test_a_replica_that_hangs_after_its_answer_costs_half_a_second_and_no_answer(two: Decoders) -> None:
    two.fakes[0].answer = stuck_after(STARTED, chunk("a"), chunk("b"), FINISHED)
    assert await left_at_the_last(two) == ANSWER


async def test_what_fails_after_the_last_event_fails_nothing(two: Decoders) -> None:
    late = UnavailableError("too late")
    two.fakes[0].answer = failing_after(late, STARTED, chunk("a"), chunk("b"), FINISHED)
    assert await left_at_the_last(two) == ANSWER


# Affinity


async def test_a_conversation_stays_with_its_replica_and_others_go_to_theirs(two: Decoders) -> None:
    async with decoder(two.target) as made:
        for index in (0, 1):
            for _ in range(5):
                assert await kinds(made, key_of(two, index)) == ANSWER
        assert two.num_requests == [5, 5]


async def test_a_conversation_moves_while_its_replica_is_away_and_comes_back(two: Decoders) -> None:
    key = key_of(two, 0)
    await two.say(0, serving=True)
    await two.say(1, serving=True)
    async with decoder(two.target) as made:
        await until(lambda: [one.health for one in made.snapshot()] == ["serving", "serving"])
        await two.say(0, serving=False)
        await until(lambda: made.snapshot()[0].health == "not_serving")
        await kinds(made, key)
        assert two.num_requests == [0, 1]
        await two.say(0, serving=True)
        await until(lambda: made.snapshot()[0].health == "serving")
        await kinds(made, key)
        assert two.num_requests == [1, 1]


async def test_a_hot_conversation_does_not_swamp_its_replica(two: Decoders) -> None:
    two.fakes[0].answer = two.fakes[1].answer = stuck_after(STARTED)
    async with decoder(two.target) as made:
        calls = []
        for i in range(8):
            calls.append(asyncio.create_task(kinds(made, key_of(two, 0))))
            await until(lambda i=i: sum(two.num_requests) == i + 1)  # type: ignore[misc]
        assert two.num_requests == [5, 3]  # ceil(1.25 * 8 / 2)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert [one.num_calls for one in made.snapshot()] == [0, 0]


# Before the first token


async def test_a_decoder_killed_before_the_first_token_is_replaced_and_nothing_is_told_twice(two: Decoders) -> None:
    two.fakes[0].answer = stuck_after(STARTED)
    async with decoder(two.target) as made:
        answer = asyncio.create_task(kinds(made, key_of(two, 0)))
        assert await two.entered() == 0
        await two.stop(0)
        assert await answer == ANSWER
        assert two.num_requests == [1, 1]


@pytest.mark.parametrize(
    "error", [UnavailableError("Gone.", retry_after_s=1), OverloadedError("Full.", retry_after_s=9)]
)
async def test_a_decoder_that_refuses_is_replaced(two: Decoders, error: TrichordError) -> None:
    two.fakes[0].answer = failing_after(error, STARTED)
    async with decoder(two.target) as made:
        assert await kinds(made, key_of(two, 0)) == ANSWER
        assert two.num_requests == [1, 1]


async def test_a_request_that_no_decoder_takes_is_refused_once(two: Decoders) -> None:
    two.fakes[0].answer = two.fakes[1].answer = failing_after(ContextLengthError("Long.", field="messages"))
    async with decoder(two.target, breaker_failures=1) as made:
        with pytest.raises(ContextLengthError) as caught:
            await kinds(made)
        assert caught.value.field == "messages"
        assert sum(two.num_requests) == 1
        assert [one.breaker for one in made.snapshot()] == ["closed", "closed"]


async def test_a_decoder_that_answers_nothing_at_all_is_left_in_time(two: Decoders) -> None:
    await two.stop(1)
    async with (
        black_hole() as hole,
        decoder(f"{hole},{two.addresses[0]}", is_heard=False, attempt_timeout_s=0.2) as made,
    ):
        await until(lambda: made.snapshot()[1].health == "not_serving")
        assert await kinds(made) == ANSWER
        assert two.num_requests == [1, 0]


async def test_a_decoder_that_has_started_has_all_the_time(two: Decoders) -> None:
    """It queues, perhaps for long; another one would begin from the start."""

    async def queued(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        await asyncio.sleep(1.5)
        async for event in hello(request):
            if event != STARTED:
                yield event

    two.fakes[0].answer = queued
    async with decoder(two.target, attempt_timeout_s=1) as made:
        assert await kinds(made, key_of(two, 0)) == ANSWER
        assert two.num_requests == [1, 0]


# After it


async def test_a_decoder_killed_after_the_first_token_is_told_and_not_retried(two: Decoders) -> None:
    two.fakes[0].answer = stuck_after(STARTED, chunk("Hel", 1))
    async with decoder(two.target) as made:
        events = generate(made, key_of(two, 0))
        assert [(await anext(events)).WhichOneof("event") for _ in range(2)] == ["started", "chunk"]
        await two.stop(0)
        with pytest.raises(UnavailableError):
            await anext(events)
        assert two.num_requests == [1, 0]
        assert [one.num_calls for one in made.snapshot()] == [0, 0]


async def test_decoders_that_die_in_mid_stream_again_and_again_are_left_out(two: Decoders) -> None:
    """No breaker opens, as each call begins well."""
    two.fakes[0].answer = failing_after(UnavailableError("Gone.", retry_after_s=0), STARTED, chunk("Hel", 1))
    async with decoder(two.target) as made:
        for _ in range(10):
            await kinds(made, key_of(two, 1))
            if not made.snapshot()[0].ejected_for_s:
                with pytest.raises(UnavailableError):
                    await kinds(made, key_of(two, 0))
        assert made.snapshot()[0].breaker == "closed"
        assert made.snapshot()[0].ejected_for_s > 0
        assert await kinds(made, key_of(two, 0)) == ANSWER


async def test_a_listener_who_leaves_frees_the_decoder_and_says_nothing_of_it(two: Decoders) -> None:
    two.fakes[0].answer = stuck_after(STARTED, chunk("Hel", 1))
    async with decoder(two.target, breaker_failures=1) as made:
        events = generate(made, key_of(two, 0))
        await anext(events)
        assert made.snapshot()[0].num_calls == 1
        await events.aclose()
        await asyncio.wait_for(two.fakes[0].calls.cancelled.wait(), SOON_S)
        assert [(one.num_calls, one.breaker) for one in made.snapshot()] == [(0, "closed"), (0, "closed")]


async def test_an_answer_without_tokens_is_an_answer(two: Decoders) -> None:
    async def nothing_to_say(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield FINISHED

    two.fakes[0].answer = two.fakes[1].answer = nothing_to_say
    async with decoder(two.target) as made:
        assert await kinds(made) == ["started", "finished"]


async def test_counting_and_the_model_are_asked_of_any_that_answers(two: Decoders) -> None:
    await two.stop(0)
    async with decoder(two.target) as made:
        assert (await made.model(SOON_S)).model == "fake"
        for _ in range(3):
            await made.count(decoder_pb2.CountTokensRequest(), SOON_S)
        assert len(two.fakes[1].counts.requests) == 3


async def test_a_decoder_without_a_status_of_ours_is_unavailable(
    two: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What gRPC itself or a proxy answers is told in our words."""

    async def abort(self: FakeDecoder, request: decoder_pb2.GenerateRequest, context: Context) -> Events:
        await context.abort(grpc.StatusCode.UNAVAILABLE, "upstream 10.0.0.7 reset")
        yield STARTED

    monkeypatch.setattr(FakeDecoder, "Generate", abort)
    for index in (0, 1):
        await two.stop(index)
        await two.restart(index)
    async with decoder(two.target) as made:
        with pytest.raises(UnavailableError) as caught:
            await kinds(made)
        assert "10.0.0.7" not in caught.value.message
