"""Answers in OpenAI's exact shape, whole and in chunks, and what reaches the core."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from gateway.admission.verdict import Budget
from gateway.openai_http.responses import Chunk, Completion
from tests.unit.gateway.fakes import DECODER_TIMINGS, STARTED, Events, chunk, forever
from tests.unit.gateway.lab import Lab
from tests.unit.gateway.openai_http.http_lab import HttpLab, audio, image, running_http, sse, text, user
from trichord.v1 import decoder_pb2, gateway_pb2

USAGE = {
    "prompt_tokens": 14,
    "completion_tokens": 3,
    "total_tokens": 17,
    "prompt_tokens_details": {"text_tokens": 7, "image_tokens": 2, "audio_tokens": 5, "cached_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


async def test_a_whole_answer(http: HttpLab) -> None:
    response = await http.complete()
    completion = response.json()
    TypeAdapter(Completion).validate_python(completion, strict=True)
    assert re.fullmatch("chatcmpl-[0-9a-f]{32}", completion.pop("id"))
    assert completion.pop("created") > 1_700_000_000
    assert completion.pop("system_fingerprint").startswith("fp_")
    assert completion == {
        "object": "chat.completion",
        "model": "fake",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": USAGE,
        "service_tier": "default",
    }
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["openai-processing-ms"]) >= 0


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_streamed_answer(http: HttpLab, include_usage: bool) -> None:
    response = await http.complete(stream=True, stream_options={"include_usage": include_usage})
    *chunks, done = sse(response)
    assert done == "[DONE]"
    for one in chunks:
        TypeAdapter(Chunk).validate_python(one, strict=True)
    assert len({(one["id"], one["created"], one["system_fingerprint"], one["object"]) for one in chunks}) == 1
    told = [(choice["delta"], choice["finish_reason"]) for one in chunks for choice in one["choices"]]
    assert told == [
        ({"role": "assistant", "content": "", "refusal": None}, None),
        ({"content": "Hel"}, None),
        ({"content": "lo"}, None),
        ({}, "stop"),
    ]
    usages = [one["usage"] for one in chunks if "usage" in one]
    assert usages == ([None] * 4 + [USAGE] if include_usage else [])
    assert [one["choices"] for one in chunks if one.get("usage")] == [[]] * include_usage
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"


async def test_everything_reaches_the_decoder(http: HttpLab) -> None:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    response = await http.complete(
        messages=[
            {"role": "system", "content": "one"},
            {"role": "developer", "content": [text("two"), text("three")]},
            user(text("look"), image(b"1"), audio(b"2")),
            {"role": "assistant", "content": "a cat"},
            user(),
        ],
        temperature=0.5,
        top_p=0.9,
        n=2,
        seed=-1,
        stop="END",
        max_completion_tokens=9,
        frequency_penalty=0.25,
        presence_penalty=-0.25,
        logit_bias={"7": -100},
        logprobs=True,
        top_logprobs=2,
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.5,
        min_tokens=1,
        ignore_eos=True,
        priority="batch",
        response_format={"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": schema}},
    )
    assert response.status_code == 200, response.text
    request = http.lab.decoder.calls.requests[0]
    roles = [decoder_pb2.ROLE_SYSTEM, decoder_pb2.ROLE_USER, decoder_pb2.ROLE_ASSISTANT, decoder_pb2.ROLE_USER]
    assert [message.role for message in request.messages] == roles
    assert [part.text for part in request.messages[0].parts] == ["one", "\n\n", "two", "three"]
    assert [part.WhichOneof("part") for part in request.messages[1].parts] == ["text", "embedding", "embedding"]
    assert http.lab.vision.calls.requests[0].image == b"1"
    assert http.lab.audio.calls.requests[0].audio == b"2"
    assert request.priority == decoder_pb2.PRIORITY_BATCH
    assert request.sampling == decoder_pb2.SamplingParams(
        temperature=0.5,
        top_p=0.9,
        n=2,
        seed=2**63 - 1,
        stop=["END"],
        max_tokens=9,
        frequency_penalty=0.25,
        presence_penalty=-0.25,
        logit_bias={7: -100},
        logprobs=2,
        top_k=40,
        min_p=0.05,
        repetition_penalty=1.5,
        min_tokens=1,
        ignore_eos=True,
        response_format=decoder_pb2.ResponseFormat(
            json_schema='{"type":"object","properties":{"name":{"type":"string"}}}'
        ),
    )


async def test_what_is_unset_stays_unset_but_for_openais_temperature(http: HttpLab) -> None:
    await http.complete()
    await http.complete(top_p=0, logprobs=True, response_format={"type": "json_object"})
    unset, greedy = (request.sampling for request in http.lab.decoder.calls.requests)
    assert unset == decoder_pb2.SamplingParams(temperature=1.0)
    json_object = decoder_pb2.ResponseFormat(json_object=True)
    assert greedy == decoder_pb2.SamplingParams(temperature=0.0, logprobs=0, response_format=json_object)


async def test_a_system_message_after_others_and_a_schema_too_large_are_refused(http: HttpLab) -> None:
    late = await http.complete(messages=[user(), {"role": "system", "content": "x"}, user()])
    assert late.json()["error"]["param"] == "messages[1].role"
    schema = {"name": "n", "schema": {"description": "x" * 70_000}}
    large = await http.complete(response_format={"type": "json_schema", "json_schema": schema})
    assert large.json()["error"]["param"] == "response_format.json_schema.schema"


def sample(text: str, token_id: int, index: int, logprob: float) -> decoder_pb2.GenerateResponse:
    chosen = decoder_pb2.TokenLogprob(token_id=token_id, token=text.encode(), logprob=logprob)
    rival = decoder_pb2.TokenLogprob(token_id=9, token=b"\xff", logprob=float("-inf"))
    logprobs = decoder_pb2.TokenLogprobs(chosen=chosen, likeliest=[chosen, rival])
    told = decoder_pb2.TokenChunk(text=text, token_ids=[token_id], sample=index, logprobs=[logprobs])
    return decoder_pb2.GenerateResponse(chunk=told)


async def two_samples(request: decoder_pb2.GenerateRequest) -> Events:
    ends = [
        decoder_pb2.SampleFinished(reason=decoder_pb2.FINISH_REASON_STOP_STRING, completion_tokens=2),
        decoder_pb2.SampleFinished(reason=decoder_pb2.FINISH_REASON_LENGTH, completion_tokens=1),
    ]
    finished = decoder_pb2.GenerateFinished(
        reason=ends[0].reason,
        prompt_tokens=decoder_pb2.PromptTokens(text=7),
        completion_tokens=3,
        cached_tokens=4,
        samples=ends,
        timings=DECODER_TIMINGS,
    )
    for event in (STARTED, sample("a", 1, 0, -0.5), sample("x", 2, 1, -1.5), chunk("", 3), sample("b", 4, 0, -0.25)):
        yield event
    yield decoder_pb2.GenerateResponse(finished=finished)


async def test_several_answers_with_logprobs_whole_and_streamed_alike(http: HttpLab) -> None:
    http.lab.decoder.answer = two_samples
    whole = (await http.complete(n=2, logprobs=True, top_logprobs=2)).json()
    assert [(c["message"]["content"], c["finish_reason"]) for c in whole["choices"]] == [
        ("ab", "stop"),
        ("x", "length"),
    ]
    first = whole["choices"][0]["logprobs"]["content"][0]
    assert (first["token"], first["logprob"], first["bytes"]) == ("a", -0.5, [97])
    assert first["top_logprobs"][1] == {"token": "�", "logprob": -9999.0, "bytes": [255]}
    assert whole["usage"]["prompt_tokens_details"]["cached_tokens"] == 4

    *chunks, _ = sse(await http.complete(n=2, logprobs=True, top_logprobs=2, stream=True))
    for index, choice in enumerate(whole["choices"]):
        mine = [one for c in chunks for one in c["choices"] if one["index"] == index]
        assert "".join(one["delta"].get("content", "") for one in mine) == choice["message"]["content"]
        assert [t for one in mine if one["logprobs"] for t in one["logprobs"]["content"]] == choice["logprobs"][
            "content"
        ]
        assert [one["finish_reason"] for one in mine if one["finish_reason"]] == [choice["finish_reason"]]
        assert sum("role" in one["delta"] for one in mine) == 1


async def test_no_logprobs_unless_asked_for(http: HttpLab) -> None:
    http.lab.decoder.answer = two_samples
    assert [choice["logprobs"] for choice in (await http.complete(n=2)).json()["choices"]] == [None, None]


async def test_the_receipt_is_told_on_request(http: HttpLab) -> None:
    whole = (await http.complete(messages=[user(image())], include_receipt=True)).json()
    assert whole["trichord"]["receipt"]["items"][0]["modality"] == "MODALITY_IMAGE"
    assert (whole["trichord"]["usage"]["images"], whole["trichord"]["usage"]["image_tiles"]) == (1, 1)
    *chunks, _ = sse(await http.complete(stream=True, include_receipt=True))
    assert [sorted(one["trichord"]) for one in chunks if "trichord" in one] == [["receipt", "usage"]]


Script = Callable[[gateway_pb2.ChatRequest, object], AsyncGenerator[gateway_pb2.ChatResponse, None]]


def without_an_image(http: HttpLab) -> Script:
    """The core as it answers when a medium is left out."""
    answer = http.desk.core.answer

    async def script(
        request: gateway_pb2.ChatRequest, principal: Any
    ) -> AsyncGenerator[gateway_pb2.ChatResponse, None]:
        assert request.degradation == gateway_pb2.DEGRADATION_ANSWER_WITHOUT
        async for event in answer(request, principal):
            yield event
            if event.HasField("started"):
                skipped = gateway_pb2.ItemSkipped(message_index=0, part_index=1, reason="The vision encoder is away.")
                yield gateway_pb2.ChatResponse(item_skipped=skipped)

    return script


async def test_what_was_left_out_is_told_where_the_client_put_it(http: HttpLab) -> None:
    http.desk.core.answer = without_an_image(http)  # type: ignore[assignment, method-assign]
    body: dict[str, Any] = {"messages": [user(text(), image())], "degradation": "answer_without"}
    expected = {"skipped": [{"param": "messages[0].content[1].image_url", "reason": "The vision encoder is away."}]}
    assert (await http.complete(**body)).json()["trichord"] == expected
    *chunks, _ = sse(await http.complete(**body, stream=True))
    assert [one["trichord"] for one in chunks if "trichord" in one] == [expected]


async def test_obfuscation_evens_out_the_length_of_text(http: HttpLab) -> None:
    *chunks, _ = sse(await http.complete(stream=True, stream_options={"include_obfuscation": True}))
    sizes = [len(one["choices"][0]["delta"].get("content", "")) + len(one["obfuscation"]) for one in chunks]
    assert all(size % 32 == 0 for size in sizes)
    assert not any("obfuscation" in one for one in sse(await http.complete(stream=True))[:-1])


async def test_silence_is_filled_with_comments(lab: Lab) -> None:
    async with running_http(lab, keep_alive_s=0.05) as http:
        lab.vision.step = forever
        url = "/v1/chat/completions"
        body = {"model": "fake", "stream": True, "messages": [user(image())]}
        async with http.client.stream("POST", url, json=body) as response:
            assert response.status_code == 200
            lines = response.aiter_lines()
            assert [await anext(lines) for _ in range(4)] == [": keep-alive", "", ": keep-alive", ""]
            await asyncio.wait_for(lab.vision.calls.entered.wait(), 20)
        await asyncio.wait_for(lab.vision.calls.cancelled.wait(), 20)


async def test_a_refusal_after_a_comment_is_an_error_event(lab: Lab) -> None:
    async with running_http(lab, keep_alive_s=0.02) as http:

        async def slow_refusal(content: bytes) -> None:
            await asyncio.sleep(0.2)
            raise ValueError

        lab.vision.step = slow_refusal
        response = await http.complete(messages=[user(image())], stream=True)
        assert response.text.startswith(": keep-alive\n\n")
        assert [list(event) for event in sse(response)] == [["error"]]


async def test_a_request_id_is_kept_if_it_is_one(http: HttpLab) -> None:
    kept = await http.complete(headers={"x-request-id": "mine-1"})
    assert kept.headers["x-request-id"] == "mine-1"
    assert http.lab.decoder.calls.requests[0].request_id == "mine-1"
    made = await http.complete(headers={"x-request-id": "no good"})
    assert re.fullmatch("req_[0-9a-f]{32}", made.headers["x-request-id"])


async def test_budgets_are_told_on_every_answer_to_a_known_caller(http: HttpLab) -> None:
    http.budgets += [
        Budget("requests", 60, 59, 0),
        Budget("tokens", 1000, -3, 0),
        Budget("tiles", 0, 0, 0),
        Budget("audio_seconds", 60_000, 59_999, 0),
    ]
    for response in (await http.complete(), await http.complete(n=0), await http.complete(stream=True)):
        told = {name: value for name, value in response.headers.items() if name.startswith("x-ratelimit-")}
        assert told == {
            "x-ratelimit-limit-requests": "60",
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1000ms",
            "x-ratelimit-limit-tokens": "1000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "60180ms",
            "x-ratelimit-limit-audio-seconds": "60",
            "x-ratelimit-remaining-audio-seconds": "59",
            "x-ratelimit-reset-audio-seconds": "1ms",
        }
    assert "x-ratelimit-limit-requests" not in (await http.client.get("/healthz")).headers
