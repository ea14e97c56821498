"""Chats by how they ended, how long they took and how many tokens they had, whichever face they came through."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
import pytest

from gateway.admission.settings import AdmissionSettings
from tests.metrics_lab import Page
from tests.spans_lab import RecordedSpans
from tests.unit.gateway.fakes import FINISHED, STARTED, Events, chunk, forever
from tests.unit.gateway.lab import Lab, audio, chat_request, image, refused, running_lab, text
from tests.unit.gateway.openai_http import http_lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, user
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

REQUESTS = "trichord_requests_total"
DURATION = "gen_ai_server_request_duration_seconds"
TTFT = "gen_ai_server_time_to_first_token_seconds"
PER_TOKEN = "gen_ai_server_time_per_output_token_seconds"


async def stuck(request: decoder_pb2.GenerateRequest) -> Events:
    yield STARTED
    yield chunk("Hel", 1, 2)
    await forever(b"")


def ended(page: Page, outcome: str, face: str = "grpc", modalities: str = "text") -> bool:
    """Whether one chat ended, so."""
    counted = page.labels(REQUESTS)
    return counted == [{"face": face, "outcome": outcome, "modalities": modalities}] and page.gained(REQUESTS) == 1


# How they end


async def test_an_answer_is_ok(lab: Lab, page: Page) -> None:
    await lab.ask(text())
    assert ended(page, "ok")
    labels = {"gen_ai_operation_name": "chat", "modalities": "text"}
    assert page.gained(f"{DURATION}_count", **labels, error_type="") == 1
    assert page.gained(f"{TTFT}_count", **labels) == page.gained(f"{PER_TOKEN}_count", **labels) == 1
    assert 0 < page.gained(f"{TTFT}_sum") < page.gained(f"{DURATION}_sum")


@pytest.mark.parametrize("stream", [False, True])
async def test_over_http_too_although_who_has_the_last_event_does_not_wait_for_the_end(
    http: HttpLab, page: Page, stream: bool
) -> None:
    response = await http.complete(stream=stream)
    assert response.status_code == 200
    assert ended(page, "ok", face="http")


async def test_what_the_request_is_to_blame_for_is_refused(lab: Lab, page: Page) -> None:
    with refused():
        await lab.chat(gateway_pb2.ChatRequest())
    assert ended(page, "refused")
    assert page.gained(f"{DURATION}_count", error_type="INVALID_REQUEST") == 1
    assert page.gained(f"{TTFT}_count") == page.gained(f"{PER_TOKEN}_count") == 0


async def test_a_tenants_budget_is_its_own(redis_server, page: Page) -> None:
    async with running_lab(redis_server, plan=AdmissionSettings(tiles_per_min=0)) as lab:
        with refused():
            await lab.ask(image())
    assert ended(page, "refused", modalities="text+image")
    assert page.gained(f"{DURATION}_count", error_type="QUOTA_EXCEEDED", modalities="text+image") == 1
    assert page.labels("trichord_sheds_total") == [{"reason": "quota_tiles", "modality": "image"}]


async def test_what_there_is_no_room_for_is_shed_and_counted_by_its_reason(redis_server, page: Page) -> None:
    async with running_lab(redis_server, plan=AdmissionSettings(text_slots=1, max_queued=0)) as lab:
        lab.decoder.answer = stuck
        call = lab.stub.Chat(chat_request(text()), timeout=60)
        await lab.decoder.calls.entered.wait()
        with refused():
            await lab.ask(text())
        assert ended(page, "shed")
        assert page.labels("trichord_sheds_total") == [{"reason": "queue_full", "modality": "text"}]
        call.cancel()
        await lab.decoder.calls.idle.wait()
    await page.until(2, REQUESTS)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_decoder_that_is_away_fails_chats_on_both_faces(http: HttpLab, page: Page, stream: bool) -> None:
    await http.lab.stop("decoder")
    with refused():
        await http.lab.ask(text())
    assert ended(page, "failed")
    assert (await http.complete(messages=[user(http_lab.image())], stream=stream)).status_code == 503
    assert page.gained(REQUESTS, face="http", outcome="failed", modalities="text+image") == 1
    assert page.gained(f"{DURATION}_count", error_type="UNAVAILABLE") == page.gained(REQUESTS) == 2


async def test_a_bug_is_a_failure(lab: Lab, page: Page) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    object.__setattr__(lab.cluster.sources, "items", broken)
    with refused():
        await lab.ask(text())
    assert ended(page, "failed")
    assert page.gained(f"{DURATION}_count", error_type="ZeroDivisionError") == 1


async def test_a_client_that_leaves_cancels_and_its_tokens_count(lab: Lab, page: Page) -> None:
    lab.decoder.answer = stuck
    call = lab.stub.Chat(chat_request(text()), timeout=60)
    await call.read()
    await call.read()
    assert page.gained("trichord_requests_in_progress", face="grpc") == 1
    call.cancel()
    await page.until(1, REQUESTS)
    assert ended(page, "cancelled")
    assert page.gained("trichord_requests_in_progress") == 0
    assert page.gained(f"{DURATION}_count", error_type="CANCELLED") == page.gained(f"{TTFT}_count") == 1
    assert page.gained("trichord_tokens_total", direction="output") == 2
    assert page.gained(f"{PER_TOKEN}_count") == 0


async def test_over_http_who_leaves_cancels(http: HttpLab, page: Page) -> None:
    http.lab.decoder.answer = stuck
    asking = asyncio.create_task(http.complete(stream=True))
    await http.lab.decoder.calls.entered.wait()
    asking.cancel()
    await page.until(1, REQUESTS)
    assert ended(page, "cancelled", face="http")


async def test_a_deadline_that_passes_is_an_expiry(lab: Lab, page: Page) -> None:
    lab.decoder.answer = stuck
    object.__setattr__(lab.cluster.settings, "hop_margin_s", 25)
    with refused() as refusal:
        await lab.ask(text(), timeout_s=25.5)
    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert ended(page, "expired")
    assert page.gained(f"{DURATION}_count", error_type="DEADLINE_EXCEEDED") == 1


# What they bring and take


@pytest.mark.parametrize(
    ("parts", "modalities"),
    [
        ([image()], "text+image"),
        ([text(), audio()], "text+audio"),
        ([audio(), image()], "text+image+audio"),
        ([gateway_pb2.Part(embedding=tensor_pb2.Embedding(modality=77))], "text"),  # type: ignore[arg-type]
    ],
)
async def test_chats_are_told_apart_by_what_they_bring(
    lab: Lab, page: Page, parts: list[gateway_pb2.Part], modalities: str
) -> None:
    await lab.ask(*parts)
    assert ended(page, "ok", modalities=modalities)
    assert page.gained(f"{TTFT}_count", modalities=modalities) == 1


async def test_a_handles_medium_is_known_once_it_is_found(lab: Lab, page: Page) -> None:
    kept = await lab.stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=b"I"))
    await lab.ask(gateway_pb2.Part(media_handle=kept.media_handle))
    assert ended(page, "ok", modalities="text+image")


async def test_tokens_are_those_of_the_usage(lab: Lab, page: Page) -> None:
    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        finished = decoder_pb2.GenerateResponse()
        finished.CopyFrom(FINISHED)
        finished.finished.cached_tokens = 6
        yield finished

    lab.decoder.answer = answer
    usage = (await lab.ask(text(), image(), audio()))[-1].finished.usage
    for modality in ("text", "image", "audio"):
        gained = page.gained("trichord_tokens_total", direction="input", modality=modality)
        assert gained == getattr(usage.prompt_tokens, modality) > 0
    assert page.gained("trichord_tokens_total", direction="output", modality="text") == usage.completion_tokens == 3
    assert page.gained("trichord_cached_tokens_total") == usage.cached_tokens == 6


async def test_time_per_token_is_of_those_after_the_first(lab: Lab, page: Page) -> None:
    """A pause of 0.4 s between the first token and two more: 0.2 s a token, however slow the machine is."""

    async def answer(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        await asyncio.sleep(0.4)
        yield FINISHED

    lab.decoder.answer = answer
    stages = (await lab.ask(text()))[-1].finished.receipt
    expected_s = (stages.total_ms - stages.first_token_ms) / 1e3 / 2
    assert expected_s > 0.19
    assert page.gained(f"{PER_TOKEN}_sum") == pytest.approx(expected_s)
    assert page.gained(f"{TTFT}_sum") == pytest.approx(stages.first_token_ms / 1e3)


# Exemplars


@pytest.mark.parametrize("face", ["grpc", "http"])
async def test_a_slow_chat_is_one_step_from_its_trace(
    http: HttpLab, page: Page, recorded_spans: RecordedSpans, face: str
) -> None:
    if face == "grpc":
        receipt = (await http.lab.ask(image()))[-1].finished.receipt
        trace_id = receipt.trace_id
    else:
        response = await http.complete(messages=[user(http_lab.image())], include_receipt=True)
        trace_id = response.json()["trichord"]["receipt"]["trace_id"]
    assert int(trace_id, 16)
    for name in (DURATION, TTFT, PER_TOKEN, "trichord_queue_delay_seconds", "trichord_encode_duration_seconds"):
        assert trace_id in page.trace_ids(name), name


async def test_what_is_not_recorded_leads_nowhere(lab: Lab, page: Page) -> None:
    receipt = (await lab.ask(text()))[-1].finished.receipt
    assert receipt.trace_id not in page.trace_ids(TTFT)


async def test_a_page_can_be_read_while_chats_come_and_go(lab: Lab, page: Page) -> None:
    async def look() -> None:
        while True:
            await asyncio.to_thread(page.samples)

    looking = asyncio.create_task(look())
    for _ in range(10):
        await asyncio.gather(*(lab.ask(text(), image(bytes([65 + i]))) for i in range(5)))
    looking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await looking
    assert page.gained(REQUESTS, outcome="ok") == 50
