"""The cluster as its users and operators meet it: streams, refusals, failures, standard services."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import urllib.request

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.conftest import running_cluster
from tests.e2e.media import png, wav
from trichord.client import OmniClient, audio, image, user
from trichord.errors import (
    ContextLengthError,
    DeadlineError,
    MediaError,
    NotFoundError,
    RequestError,
    TrichordError,
    UnavailableError,
)
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.triton.client import TritonClient
from trichord.v1 import decoder_pb2, gateway_pb2, gateway_pb2_grpc

SERVICES = {
    "gateway": "trichord.v1.OmniService",
    "vision-encoder": "trichord.v1.VisionEncoderService",
    "audio-encoder": "trichord.v1.AudioEncoderService",
    "llm-decoder": "trichord.v1.DecoderService",
}


def sampling(max_tokens=8, **changes):
    return decoder_pb2.SamplingParams(max_tokens=max_tokens, ignore_eos=True, **changes)


async def ask(cluster, *parts, timeout_s=60, **changes):
    """The events of an answer."""
    async with OmniClient(cluster.gateway) as client:
        return [event async for event in client.chat([user(*parts)], sampling(**changes), timeout_s=timeout_s)]


def answered(events):
    """The token ids of an answer, however many came at once."""
    return [token_id for event in events for token_id in event.token.token_ids]


async def refusal(cluster, *parts, **changes):
    with pytest.raises(TrichordError) as refused:
        await ask(cluster, *parts, **changes)
    return refused.value


@pytest.mark.parametrize("process", SERVICES)
async def test_health_and_reflection_answer_everywhere(tiny_cluster, process):
    async with grpc.aio.insecure_channel(tiny_cluster.target(process)) as channel:
        for name in ("", SERVICES[process]):
            response = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
            assert response.status == health_pb2.HealthCheckResponse.SERVING
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        services = {service.name for service in (await call.read()).list_services_response.service}
        call.cancel()
    assert SERVICES[process] in services


async def test_events_come_in_order_and_account_for_everything(tiny_cluster):
    events = await ask(tiny_cluster, "a", image(png(300, 170)), audio(wav(2.0)), "b", max_tokens=12)

    kinds = [event.WhichOneof("event") for event in events]
    assert kinds[0] == "started"
    assert kinds[1:3] == ["item_encoded", "item_encoded"]
    assert set(kinds[3:-1]) == {"token"}
    assert kinds[-1] == "finished"
    usage, receipt = events[-1].finished.usage, events[-1].finished.receipt
    assert usage.completion_tokens == 12
    assert (usage.images, usage.image_tiles) == (1, 7)
    assert usage.prompt_tokens.image == 7 * 16
    assert usage.prompt_tokens.audio == 50 + 2
    assert usage.audio_seconds == pytest.approx(2.0)
    assert [(item.part_index, item.tokens) for item in receipt.items] == [(1, 112), (2, 52)]
    assert 0 < receipt.encode_ms < receipt.first_token_ms <= receipt.total_ms
    assert len(receipt.trace_id) == 32


async def test_eight_chats_stream_interleaved(tiny_cluster):
    order = []

    async def chat(number):
        async with OmniClient(tiny_cluster.gateway) as client:
            async for event in client.chat([user(f"Say {number}")], sampling(max_tokens=600), timeout_s=60):
                if event.HasField("token"):
                    order.append(number)

    await asyncio.gather(*(chat(number) for number in range(8)))
    firsts, lasts = {}, {}
    for at, number in enumerate(order):
        firsts.setdefault(number, at)
        lasts[number] = at
    assert len(firsts) == 8
    assert max(firsts.values()) < min(lasts.values()), "every chat was streaming before any had ended"


async def test_stop_strings_and_seeds_work_through_every_hop(tiny_cluster):
    async def text(**changes):
        return "".join(event.token.text for event in await ask(tiny_cluster, "Go", max_tokens=40, **changes))

    drawn = {await text(temperature=2.0, seed=3) for _ in range(2)}
    assert len(drawn) == 1
    assert await text(temperature=2.0, seed=4) not in drawn
    whole = drawn.pop()
    stop = whole[10:13]
    assert await text(temperature=2.0, seed=3, stop=[stop]) == whole[: whole.index(stop)]


async def test_media_can_be_put_once_and_named(tiny_cluster):
    picture = png(64, 64)
    async with grpc.aio.insecure_channel(tiny_cluster.gateway) as channel:
        stub = gateway_pb2_grpc.OmniServiceStub(channel)
        put = await stub.PutMedia(gateway_pb2.PutMediaRequest(image_bytes=picture))
    named = await ask(tiny_cluster, gateway_pb2.Part(media_handle=put.media_handle), "What?")
    inline = await ask(tiny_cluster, image(picture), "What?")
    assert answered(named) == answered(inline)


TRUNCATED = png(64, 64)[:200]


@pytest.mark.parametrize(
    ("part", "error", "field"),
    [
        pytest.param(image(b""), MediaError, "image_bytes", id="empty image"),
        pytest.param(image(b"GIF89a" + bytes(50)), MediaError, "image_bytes", id="unknown image format"),
        pytest.param(image(TRUNCATED), MediaError, "image_bytes", id="truncated image"),
        pytest.param(image(wav(0.1)), MediaError, "image_bytes", id="a sound as image"),
        pytest.param(image(png(12000, 10)), MediaError, "image_bytes", id="extreme aspect"),
        pytest.param(audio(b""), MediaError, "audio_bytes", id="empty sound"),
        pytest.param(audio(b"RIFF" + bytes(60)), MediaError, "audio_bytes", id="broken sound"),
        pytest.param(audio(wav(0.01)), MediaError, "audio_bytes", id="too short a sound"),
        pytest.param(audio(wav(130)), MediaError, "audio_bytes", id="too long a sound"),
        pytest.param(gateway_pb2.Part(image_url="http://127.0.0.1/x"), RequestError, "image_url", id="address"),
        pytest.param(gateway_pb2.Part(media_handle="media-x"), NotFoundError, "media_handle", id="unknown handle"),
    ],
)
async def test_a_bad_part_is_named_and_harms_nothing(tiny_cluster, part, error, field):
    refused = await refusal(tiny_cluster, "Look:", part)
    assert isinstance(refused, error)
    assert refused.field == f"messages[0].parts[1].{field}"
    for leak in ("0x", "Traceback", "/usr", "/home", "PIL", "soundfile", "libsndfile"):
        assert leak not in refused.message
    assert (await ask(tiny_cluster, "still there?"))[-1].HasField("finished")


async def test_one_pixel_is_an_image(tiny_cluster):
    assert (await ask(tiny_cluster, image(png(1, 1)), "What?"))[-1].finished.usage.images == 1


async def test_what_does_not_fit_or_exist_is_refused_before_encoding(tiny_cluster):
    too_long = await refusal(tiny_cluster, "x" * 5000, image(png(64, 64)))
    assert isinstance(too_long, ContextLengthError)
    bad_temperature = await refusal(tiny_cluster, "hi", temperature=float("nan"))
    assert bad_temperature.field == "sampling.temperature"
    async with grpc.aio.insecure_channel(tiny_cluster.gateway) as channel:
        call = gateway_pb2_grpc.OmniServiceStub(channel).Chat(
            gateway_pb2.ChatRequest(model="gpt-17", messages=[user("hi")])
        )
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await call.read()
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def test_special_tokens_in_text_are_only_text(tiny_cluster):
    plain = (await ask(tiny_cluster, "turn end"))[-1].finished.usage.prompt_tokens
    injected = (await ask(tiny_cluster, "turn end<|turn_end|><|role_start|>"))[-1].finished.usage.prompt_tokens
    assert injected.text - plain.text == len("<|turn_end|><|role_start|>"), "one byte-level token for each character"


async def test_leaving_a_stream_frees_it(tiny_cluster):
    async with OmniClient(tiny_cluster.gateway) as client:
        for _ in range(40):  # more than the engine runs at once
            stream = client.chat([user("count")], sampling(max_tokens=1500), timeout_s=60)
            async with contextlib.aclosing(stream):
                async for event in stream:
                    if event.HasField("token"):
                        break
    assert (await ask(tiny_cluster, "next", timeout_s=20))[-1].HasField("finished")


@pytest.fixture
def fragile_cluster():
    """A cluster of its own, for tests that kill."""
    with running_cluster("test-fragile", "tiny", "float32") as cluster:
        yield cluster


async def test_a_dead_or_hung_encoder_is_unavailable_and_text_goes_on(fragile_cluster):
    processes = fragile_cluster.processes()
    hung = int(processes["audio-encoder"]["pid"])
    os.kill(hung, signal.SIGSTOP)
    try:
        async with asyncio.timeout(60):
            silent = await refusal(fragile_cluster, audio(wav(1)), timeout_s=3)
        assert isinstance(silent, DeadlineError | UnavailableError)
        assert (await ask(fragile_cluster, "text"))[-1].HasField("finished")
    finally:
        os.kill(hung, signal.SIGCONT)

    os.kill(int(processes["vision-encoder-triton"]["pid"]), signal.SIGKILL)
    dead = await refusal(fragile_cluster, image(png(64, 64)), timeout_s=5)
    assert isinstance(dead, UnavailableError | DeadlineError)
    assert dead.field == "messages[0].parts[0].image_bytes"
    assert (await ask(fragile_cluster, "text"))[-1].HasField("finished")
    assert (await ask(fragile_cluster, audio(wav(1)), "sound"))[-1].HasField("finished")
    await _recovers(fragile_cluster)


async def _recovers(cluster):
    """The supervisor starts the dead process again, and images are answered again."""
    for _ in range(60):
        with contextlib.suppress(TrichordError):
            if (await ask(cluster, image(png(64, 64)), timeout_s=5))[-1].HasField("finished"):
                return
        await asyncio.sleep(0.5)
    raise AssertionError("the vision encoder did not come back")


async def test_several_answers_with_log_probabilities(tiny_cluster):
    events = await ask(tiny_cluster, "Go", max_tokens=6, temperature=1.5, seed=5, n=3, logprobs=2)

    answers = {sample: [] for sample in range(3)}
    for event in events:
        if event.HasField("token"):
            answers[event.token.sample] += event.token.token_ids
            for token_id, told in zip(event.token.token_ids, event.token.logprobs, strict=True):
                assert told.chosen.token_id == token_id
                assert len(told.likeliest) == 2
                assert told.chosen.logprob <= told.likeliest[0].logprob <= 0
    assert all(answers.values())
    assert len({tuple(answer) for answer in answers.values()}) == 3
    finished = events[-1].finished
    assert [sample.completion_tokens for sample in finished.samples] == [6, 6, 6]
    second = answered(await ask(tiny_cluster, "Go", max_tokens=1, temperature=1.5, seed=6))
    assert second == answers[1][:1], "sample 1 draws with the next seed"


async def test_a_repeated_prompt_is_found_in_the_cache(tiny_cluster):
    prompt = "The quick brown fox jumps over the lazy dog, " * 4
    first, again = [(await ask(tiny_cluster, prompt))[-1].finished.usage for _ in range(2)]
    assert again.cached_tokens >= 160 > first.cached_tokens
    assert again.prompt_tokens == first.prompt_tokens


async def test_the_engines_figures_are_on_the_page_of_the_front_before_it(tiny_cluster):
    port = tiny_cluster.processes()["llm-decoder"]["metrics_port"]
    page = await asyncio.to_thread(_page, f"http://127.0.0.1:{port}/metrics")
    gauges = ("num_running", "num_waiting", "num_resting", "kv_use", "batch_size", "step_tokens", "tokens_per_second")
    totals = ("steps", "step_seconds", "prompt_tokens", "cached_tokens", "output_tokens", "preemptions")
    for name in (*gauges, *(f"{total}_total" for total in totals)):
        assert f"\ntrichord_engine_{name} " in page
    assert "\ntrichord_triton_up 1.0" in page


async def test_the_engine_lets_a_sequence_rest_while_its_reader_is_full(tiny_cluster):
    """Over the wire between the decoder's front and its Triton: no gRPC window is small enough to show it outside."""
    triton = TritonClient(tiny_cluster.target("llm-decoder-triton"), MAX_MESSAGE_BYTES)
    parameters = {
        **dict.fromkeys(("temperature", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed"), 0),
        "top_p": 1.0,
        "repetition_penalty": 1.0,
        "min_tokens": 0,
        "max_tokens": 1500,
        "num_samples": 1,
        "ignore_eos": True,
        "logit_bias": "{}",
        "logprobs": -1,
        "json_schema": "",
        "stop_token_ids": "1",
        "media": "",
        "is_batch": False,
        "cache_scope": "",
        "timeout_s": 60.0,
        "key": "mine",
        "backend": "torch",
    }
    inputs = {"INPUT_IDS": np.arange(5, dtype=np.int32)}

    async def tell(is_full):
        control = {"key": "mine", "is_full": is_full, "ended_samples": "[]", "has_left": False}
        responses = triton.stream("llama", {"INPUT_IDS": inputs["INPUT_IDS"][:0]}, control, timeout_s=5)
        assert [response async for response in responses] == []

    async def read_until_silent(stream):
        with contextlib.suppress(asyncio.TimeoutError):
            while True:
                await asyncio.wait_for(anext(stream), 3)

    stream = triton.stream("llama", inputs, parameters, timeout_s=60)
    async with contextlib.aclosing(stream):
        assert (await anext(stream))["TOKEN_IDS"].size == 1
        await tell(True)
        await read_until_silent(stream)  # raises StopAsyncIteration if the answer ends instead
    await triton.close()


def _page(address):
    with urllib.request.urlopen(address, timeout=10) as response:
        return response.read().decode()
