"""The spans of chats that are shed, refused, retried, degraded, cancelled or fail: red where it happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from gateway.admission.settings import AdmissionSettings
from tests.redis_lab import RedisServer
from tests.spans_lab import RecordedSpans
from tests.unit.gateway.fakes import STARTED, Events, FakeVision, chunk, forever, hello, raising, serving
from tests.unit.gateway.lab import Lab, audio, chat_request, image, kinds, refused, running_lab, text
from tests.unit.gateway.tracing import trees
from tests.unit.gateway.tracing.trees import SOON_S, ended, kept, known, tree
from tests.unit.gateway.waking.lab import sleepy_lab
from trichord.errors import MediaError, OverloadedError, QuotaError, UnavailableError
from trichord.telemetry import names
from trichord.v1 import decoder_pb2, gateway_pb2

CHAT, GENERATE = "trichord.v1.OmniService/Chat", "trichord.v1.DecoderService/Generate"
ENCODE_IMAGE = "trichord.v1.VisionEncoderService/EncodeImage"
GONE = UnavailableError("Gone.", retry_after_s=0)
"""Of a replica that may be called again at once."""


def here(recorded: RecordedSpans) -> list[ReadableSpan]:
    """The spans of the gateway: those of the fakes, which run in this process too, aside."""
    served = [span.context.span_id for span in recorded.ended if span.kind.name == "SERVER" and span.name != CHAT]
    return [span for span in recorded.ended if span.context.span_id not in served]


def origins(recorded: RecordedSpans) -> list[str]:
    """Where failures were first seen, in the gateway or at a fake."""
    return [span.name for span in recorded.ended if span.attributes.get(names.ERROR_ORIGIN)]


async def test_a_chat_over_its_budget_is_refused_where_it_is_admitted(
    redis_server: RedisServer, recorded_spans: RecordedSpans
) -> None:
    async with running_lab(redis_server, plan=AdmissionSettings(tokens_per_min=10)) as lab:
        await known(lab, recorded_spans)
        with refused() as refusal:
            await lab.ask(text("x" * 100), image())
    assert isinstance(refusal.error, QuotaError)
    assert tree(recorded_spans) == trees.text("""
        < OmniService/Chat ! QUOTA_EXCEEDED
            chat fake ! QUOTA_EXCEEDED
                admit ! QUOTA_EXCEEDED
                    > redis budgets reserve
    """)
    assert origins(recorded_spans) == ["admit"]


async def test_a_chat_is_shed_in_the_lane_that_is_full(
    redis_server: RedisServer, recorded_spans: RecordedSpans
) -> None:
    async with running_lab(redis_server, plan=AdmissionSettings(text_slots=1, max_queued=0)) as lab:
        lab.decoder.answer = stuck_after(STARTED)  # type: ignore[assignment]
        await known(lab, recorded_spans)
        first = lab.stub.Chat(chat_request(text()), timeout=60)
        await asyncio.wait_for(lab.decoder.calls.entered.wait(), SOON_S)
        recorded_spans.clear()
        with refused() as refusal:
            await lab.ask(text())
        assert isinstance(refusal.error, OverloadedError)
        assert tree(recorded_spans) == trees.text("""
            < OmniService/Chat ! OVERLOADED
                chat fake ! OVERLOADED
                    admit
                        > redis budgets reserve
                    merge
                    lane ! OVERLOADED
                    > redis budgets settle
        """)
        assert origins(recorded_spans) == ["lane"]
        first.cancel()
        await ended(recorded_spans, CHAT, times=2)


async def test_each_attempt_of_a_retried_call_is_a_span(
    redis_server: RedisServer, recorded_spans: RecordedSpans
) -> None:
    spare = FakeVision()
    running = await serving(spare)
    async with running_lab(redis_server) as first:
        target = f"127.0.0.1:{first.servers['vision'].port},127.0.0.1:{running.port}"
        async with running_lab(redis_server, vision=target) as lab:
            await known(lab, recorded_spans)
            fails_once(first.vision, spare)
            await lab.ask(image())
            await kept(lab)
    await running.server.stop(0)
    attempts = sorted(
        (span for span in recorded_spans.named(ENCODE_IMAGE) if names.ATTEMPT in span.attributes),
        key=lambda span: span.start_time,
    )
    failed, well = attempts
    assert [span.attributes[names.ATTEMPT] for span in attempts] == [1, 2]
    assert failed.attributes[names.ERROR_TYPE] == "UNAVAILABLE"
    assert origins(recorded_spans) == [ENCODE_IMAGE]
    assert names.ERROR_ORIGIN not in failed.attributes
    assert failed.end_time <= well.start_time
    assert failed.attributes[names.SERVER_PORT] != well.attributes[names.SERVER_PORT]
    assert failed.parent == well.parent
    red = [span.name for span in here(recorded_spans) if span.status.status_code is StatusCode.ERROR]
    assert red == [ENCODE_IMAGE]


def fails_once(*fakes: FakeVision) -> None:
    """The next call of either fails."""
    num_calls = 0

    async def step(content: bytes) -> None:
        nonlocal num_calls
        num_calls += 1
        if num_calls == 1:
            raise GONE

    for fake in fakes:
        fake.step = step


async def test_a_call_that_nobody_takes_names_no_server(lab: Lab, recorded: RecordedSpans) -> None:
    lab.vision.step = raising(OverloadedError("Full.", retry_after_s=20))
    for _ in range(2):
        with refused():
            await lab.ask(image())
    attempts = [span for span in here(recorded) if span.name == ENCODE_IMAGE]
    assert [names.SERVER_PORT in span.attributes for span in attempts] == [True, False]
    assert {span.attributes[names.ERROR_TYPE] for span in attempts} == {"OVERLOADED"}


async def test_an_item_that_the_answer_does_without_is_red_and_the_chat_is_not(
    lab: Lab, recorded: RecordedSpans
) -> None:
    lab.vision.step = raising(OverloadedError("Full."))
    events = await lab.chat(chat_request(text(), image(), audio(), degradation=gateway_pb2.DEGRADATION_ANSWER_WITHOUT))
    assert "item_skipped" in kinds(events)
    red = [span.name for span in here(recorded) if span.status.status_code is StatusCode.ERROR]
    assert red == [ENCODE_IMAGE, "encode item"]
    assert origins(recorded) == [ENCODE_IMAGE]
    assert recorded.one("chat fake").status.status_code is StatusCode.OK


async def test_one_bad_item_fails_the_chat_and_cancels_the_others(lab: Lab, recorded: RecordedSpans) -> None:
    lab.vision.step, lab.audio.step = raising(MediaError("Not an image.", field="image")), forever
    with refused():
        await lab.ask(image(), audio())
    items = {span.attributes[names.MODALITY]: span for span in recorded.named("encode item")}
    assert items["image"].attributes[names.ERROR_TYPE] == "INVALID_MEDIA"
    assert items["audio"].attributes[names.ERROR_TYPE] == "CANCELLED"
    assert recorded.one("chat fake").attributes[names.ERROR_TYPE] == "INVALID_MEDIA"
    assert recorded.one(CHAT).attributes[names.ERROR_TYPE] == "INVALID_MEDIA"


async def test_a_decoder_that_dies_in_mid_answer_is_where_the_chat_failed(lab: Lab, recorded: RecordedSpans) -> None:
    async def dies(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        raise UnavailableError("Out.")

    lab.decoder.answer = dies
    with refused():
        await lab.ask(text())
    assert origins(recorded) == [GENERATE]
    (attempt,) = [span for span in here(recorded) if span.name == GENERATE]
    assert [event.name for event in attempt.events] == ["first token"]
    assert tree(recorded) == trees.text("""
        < OmniService/Chat ! UNAVAILABLE
            chat fake ! UNAVAILABLE
                admit
                    > redis budgets reserve
                merge
                lane
                > DecoderService/Generate ! UNAVAILABLE
                    < DecoderService/Generate ! UNAVAILABLE
                > redis budgets settle
    """)


def stuck_after(*events: decoder_pb2.GenerateResponse) -> object:
    async def answer(request: decoder_pb2.GenerateRequest) -> AsyncIterator[decoder_pb2.GenerateResponse]:
        for event in events:
            yield event
        await forever(b"")

    return answer


async def test_a_client_that_leaves_in_mid_answer(lab: Lab, recorded: RecordedSpans) -> None:
    lab.decoder.answer = stuck_after(STARTED, chunk("Hel", 1))  # type: ignore[assignment]
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    for _ in range(2):
        await call.read()
    call.cancel()
    await ended(recorded, CHAT)
    await ended(recorded, GENERATE, times=2)
    assert tree(recorded) == trees.text("""
        < OmniService/Chat ! CANCELLED
            chat fake ! CANCELLED
                admit
                    > redis budgets reserve
                merge
                lane
                > DecoderService/Generate ! CANCELLED
                    < DecoderService/Generate ! CANCELLED
                > redis budgets settle
    """)
    assert names.TIME_TO_FIRST_CHUNK in recorded.one("chat fake").attributes
    assert names.OUTPUT_TOKENS not in recorded.one("chat fake").attributes


async def test_a_client_that_leaves_while_its_image_is_encoded(lab: Lab, recorded: RecordedSpans) -> None:
    lab.vision.step = forever
    call = lab.stub.Chat(chat_request(image()), timeout=60)
    await call.read()
    await asyncio.wait_for(lab.vision.calls.entered.wait(), SOON_S)
    call.cancel()
    await ended(recorded, CHAT)
    await ended(recorded, ENCODE_IMAGE, times=2)
    await kept(lab)
    red = {span.name for span in here(recorded) if span.status.status_code is StatusCode.ERROR}
    assert red == {CHAT, "chat fake", "encode item", ENCODE_IMAGE}
    assert {recorded.one(name).attributes[names.ERROR_TYPE] for name in (CHAT, "chat fake", "encode item")} == {
        "CANCELLED"
    }


async def test_who_goes_on_after_the_first_to_ask_has_left_is_not_cancelled(lab: Lab, recorded: RecordedSpans) -> None:
    go_on = asyncio.Event()

    async def held(content: bytes) -> None:
        await go_on.wait()

    lab.vision.step = held
    first = lab.stub.Chat(chat_request(image()), timeout=60)
    await asyncio.wait_for(lab.vision.calls.entered.wait(), SOON_S)
    second = asyncio.create_task(lab.ask(image()))
    flights = lab.cluster.embeddings._flights._flights
    await trees.until(lambda: any(flight.num_waiting == 2 for flight in flights.values()))
    first.cancel()
    await ended(recorded, CHAT)
    go_on.set()
    assert kinds(await second)[-1] == "finished"
    leader, follower = sorted(recorded.named("encode item"), key=lambda span: span.start_time)
    assert leader.attributes[names.ERROR_TYPE] == "CANCELLED"
    assert follower.status.status_code is StatusCode.UNSET
    assert recorded.one("flight").links[0].context.span_id == leader.context.span_id
    attempt = next(span for span in here(recorded) if span.name == ENCODE_IMAGE)
    assert (attempt.parent.span_id, attempt.status.status_code) == (leader.context.span_id, StatusCode.UNSET)


async def test_the_wait_for_an_encoder_that_sleeps(
    tmp_path: Path, redis_server: RedisServer, recorded_spans: RecordedSpans
) -> None:
    async with sleepy_lab(tmp_path, redis_server) as sleepy:
        await sleepy.lab.cluster.decoder.model(SOON_S)
        recorded_spans.clear()
        asked = asyncio.create_task(sleepy.lab.ask(image()))
        await sleepy.holds(1)
        sleepy.wake()
        await asyncio.wait_for(asked, SOON_S)
        await kept(sleepy.lab)
        wake, lane = recorded_spans.one("wake"), recorded_spans.named("lane")[0]
        assert wake.parent.span_id == recorded_spans.one("encode item").context.span_id
        assert wake.end_time <= lane.start_time
        await sleepy.fall_asleep()
        recorded_spans.clear()
        request = chat_request(text(), image(b"2"), degradation=gateway_pb2.DEGRADATION_ANSWER_WITHOUT)
        assert "item_skipped" in kinds(await sleepy.lab.chat(request))
        assert origins(recorded_spans) == ["wake"]


async def test_an_error_that_the_request_itself_is_has_no_model(lab: Lab, recorded: RecordedSpans) -> None:
    with refused():
        await lab.chat(gateway_pb2.ChatRequest())
    assert tree(recorded) == trees.text("""
        < OmniService/Chat ! INVALID_REQUEST
            chat ! INVALID_REQUEST
    """)


async def test_after_a_failure_all_is_well_again(lab: Lab, recorded: RecordedSpans) -> None:
    lab.decoder.answer = raising_answer  # type: ignore[assignment]
    with refused():
        await lab.ask(text())
    lab.decoder.answer = hello
    recorded.clear()
    await lab.ask(text())
    assert [span.name for span in recorded.ended if span.status.status_code is StatusCode.ERROR] == []


async def raising_answer(request: decoder_pb2.GenerateRequest) -> Events:
    raise MediaError("No.")
    yield STARTED
