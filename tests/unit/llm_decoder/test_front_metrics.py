"""What the decoder's front counts, scraped while real calls go through it."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest

from tests.metrics_lab import Page
from tests.spans_lab import RecordedSpans
from tests.unit.llm_decoder.test_front import asking, events, image, sound
from trichord.errors import UnavailableError
from trichord.telemetry import calls, spans
from trichord.v1.decoder_pb2 import FINISH_REASON_LENGTH

STAGES = ("queue", "prefill", "first_token")
TILE_TOKENS, SOUND_TOKENS = 16, 5


@pytest.fixture
def told(page_url: str) -> Page:
    return Page(page_url)


def tokens(told: Page, direction: str, modality: str = "text") -> float:
    return told.gained("trichord_generate_tokens_total", direction=direction, modality=modality)


def in_progress() -> float:
    return calls.IN_PROGRESS.labels("trichord.v1.DecoderService/Generate")._value.get()


def ended(told: Page, reason: str) -> float:
    return told.gained("trichord_generations_total", finish_reason=reason)


async def test_an_answers_tokens_and_times_are_counted(stub: Any, triton: Any, told: Page) -> None:
    triton.plays([40], [41, 42], [43], finish=FINISH_REASON_LENGTH)
    triton.responses[-1]["TIMINGS"] = np.array([500, 250, 3, 4, 32, 2], dtype=np.float32)
    finished = (await events(stub, asking("What?", image(), sound())))[-1].finished
    assert tokens(told, "output") == finished.completion_tokens == 4
    assert tokens(told, "input") == finished.prompt_tokens.text > 0
    assert tokens(told, "input", "image") == TILE_TOKENS
    assert tokens(told, "input", "audio") == SOUND_TOKENS
    assert told.gained("trichord_generate_cached_tokens_total") == 32
    assert told.gained("trichord_generate_preemptions_total") == 2
    assert ended(told, "length") == 1
    assert told.gained("trichord_generate_queue_seconds_sum") == pytest.approx(0.5)
    assert told.gained("trichord_generate_prefill_seconds_sum") == pytest.approx(0.25)
    first_token_s = finished.timings.first_token_ms / 1e3
    assert told.gained("trichord_generate_first_token_seconds_sum") == pytest.approx(first_token_s, rel=1e-3)


async def test_gaps_are_shared_by_the_tokens_that_came_together(stub: Any, triton: Any, told: Page) -> None:
    triton.plays([40], [41, 42], [43], [44, 45, 46, 47])
    triton.pause_s = 0.02
    timings = (await events(stub, asking()))[-1].finished.timings
    name = "trichord_generate_inter_token_seconds"
    assert told.gained(f"{name}_count") == 3
    assert told.gained(f"{name}_sum") < timings.decode_ms / 1e3, "as if each chunk were one token"
    assert told.gained(f"{name}_sum") >= 0.02 * (1 / 2 + 1 + 1 / 4)


async def test_every_answer_ends_for_a_reason(stub: Any, triton: Any, told: Page, vocabulary: Any) -> None:
    triton.plays(vocabulary.encode("one END two"))
    await events(stub, asking(stop=["END"]))
    triton.plays([40], [vocabulary.special_ids["<|turn_end|>"]])
    await events(stub, asking())
    assert (ended(told, "stop_string"), ended(told, "end_of_turn")) == (1, 1)
    assert (ended(told, "failed"), ended(told, "cancelled")) == (0, 0)


async def test_each_of_several_answers_is_counted(stub: Any, triton: Any, told: Page) -> None:
    triton.plays([40], [41], finish=FINISH_REASON_LENGTH)
    one, other = ({**response, "SAMPLE": np.array([0])} for response in triton.responses)
    triton.responses = [one, {**one, "SAMPLE": np.array([1])}, other, {**other, "SAMPLE": np.array([1])}]
    await events(stub, asking(n=2))
    assert ended(told, "length") == 2
    assert tokens(told, "output") == 4
    assert told.gained("trichord_generate_first_token_seconds_count") == 1


async def test_an_answer_that_breaks_off_counts_what_it_had(stub: Any, triton: Any, told: Page) -> None:
    triton.plays([40], [41])
    triton.responses = [{"TOKEN_IDS": triton.responses[0]["TOKEN_IDS"]}]
    triton.error = UnavailableError("The model server is gone.")
    with pytest.raises(grpc.aio.AioRpcError):
        await events(stub, asking())
    assert (ended(told, "failed"), ended(told, "end_of_turn")) == (1, 0)
    assert tokens(told, "output") == 1
    assert told.gained("trichord_generate_first_token_seconds_count") == 1


async def test_a_prompt_that_never_began_is_not_counted_as_computed(stub: Any, triton: Any, told: Page) -> None:
    triton.error = UnavailableError("The model server is gone.")
    with pytest.raises(grpc.aio.AioRpcError):
        await events(stub, asking())
    assert ended(told, "failed") == 1
    assert tokens(told, "input") == tokens(told, "output") == 0
    assert told.gained("trichord_generate_first_token_seconds_count") == 0


async def test_a_caller_who_leaves_cancels(stub: Any, triton: Any, told: Page, until: Any) -> None:
    triton.plays(*[[40]] * 1000)
    triton.pause_s = 0.005
    call = stub.Generate(asking(), timeout=30)
    async for event in call:
        if event.HasField("chunk"):
            break
    call.cancel()
    await until(lambda: triton.calls[0].closed.is_set() and not in_progress())
    assert ended(told, "cancelled") == 1
    assert 0 < tokens(told, "output") < 1000
    assert ended(told, "failed") == 0


async def test_a_time_leads_to_the_trace_that_it_was_measured_in(
    stub: Any, triton: Any, told: Page, recorded_spans: RecordedSpans
) -> None:
    triton.plays([40], [41])
    with spans.span("asking"):
        trace_id = spans.current_trace_id()
        async for _ in stub.Generate(asking(), metadata=spans.outbound(), timeout=30):
            pass
    for stage in STAGES:
        assert trace_id in told.trace_ids(f"trichord_generate_{stage}_seconds")
