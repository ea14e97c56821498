"""The official OpenAI client, and curl, against the HTTP face of a gateway on loopback."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator

import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionMessageParam

from gateway.admission.verdict import Budget
from tests.redis_lab import RedisServer, running_redis
from tests.unit.gateway.fakes import FINISHED, STARTED, Events, chunk, forever, raising
from tests.unit.gateway.lab import Lab, running_lab
from tests.unit.gateway.openai_http.http_lab import KEY, HttpLab, audio, image, running_http, text
from trichord import errors
from trichord.v1 import decoder_pb2

HI: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


@pytest.fixture
async def lab(redis_server: RedisServer) -> AsyncIterator[Lab]:
    async with running_lab(redis_server) as running:
        yield running


@pytest.fixture
async def http(lab: Lab) -> AsyncIterator[HttpLab]:
    async with running_http(lab) as running:
        yield running


@pytest.fixture
async def client(http: HttpLab) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{http.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


async def test_a_whole_answer(client: openai.AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="fake", messages=HI)
    assert completion.choices[0].message.content == "Hello"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage
    details = completion.usage.prompt_tokens_details
    assert details
    assert (details.text_tokens, details.image_tokens, details.audio_tokens, details.cached_tokens) == (7, 2, 5, 0)


async def test_a_streamed_answer(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="fake", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = [one async for one in stream]
    assert "".join(choice.delta.content or "" for one in chunks for choice in one.choices) == "Hello"
    assert [bool(one.usage) for one in chunks] == [False] * (len(chunks) - 1) + [True]


async def test_the_clients_own_stream_helper(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="fake", messages=HI) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_completion()
    assert kinds.count("content.delta") == 3  # OpenAI's own streams begin with an empty one, too
    assert final.choices[0].message.content == "Hello"


async def test_image_and_audio(client: openai.AsyncOpenAI, lab: Lab) -> None:
    messages = [{"role": "user", "content": [text("what?"), image(b"\x89PNG"), audio(b"RIFF")]}]
    stream = await client.chat.completions.create(model="fake", messages=messages, stream=True)  # type: ignore[call-overload]
    assert "".join([one.choices[0].delta.content or "" async for one in stream]) == "Hello"
    assert lab.vision.calls.requests[0].image == b"\x89PNG"
    assert lab.audio.calls.requests[0].audio == b"RIFF"


async def test_large_media_go_through(client: openai.AsyncOpenAI, lab: Lab) -> None:
    content = bytes(range(256)) * 16 * 1024  # 4 MiB
    messages = [{"role": "user", "content": [image(content)]}]
    await client.chat.completions.create(model="fake", messages=messages)  # type: ignore[call-overload]
    assert lab.vision.calls.requests[0].image == content


class Capital(pydantic.BaseModel):
    city: str


async def test_a_parsed_answer(client: openai.AsyncOpenAI, lab: Lab) -> None:
    async def obey(request: decoder_pb2.GenerateRequest) -> Events:
        schema = json.loads(request.sampling.response_format.json_schema)
        assert schema["required"] == ["city"]
        for event in (STARTED, chunk('{"city": "Paris"}', 1), FINISHED):
            yield event

    lab.decoder.answer = obey
    completion = await client.chat.completions.parse(model="fake", messages=HI, response_format=Capital)
    assert completion.choices[0].message.parsed == Capital(city="Paris")


async def test_models(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["fake"]
    assert (await client.models.retrieve("fake")).owned_by == "trichord"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("other")


async def test_extra_body(client: openai.AsyncOpenAI, lab: Lab) -> None:
    extra = {"top_k": 7, "min_p": 0.1, "repetition_penalty": 1.1, "priority": "batch", "unknown": [1]}
    await client.chat.completions.create(model="fake", messages=HI, extra_body=extra)
    request = lab.decoder.calls.requests[0]
    assert (request.sampling.top_k, request.priority) == (7, decoder_pb2.PRIORITY_BATCH)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ContextLengthError("Long."), openai.BadRequestError),
        (errors.QuotaError("Spent.", quota="tokens", retry_after_s=1), openai.RateLimitError),
        (errors.UnavailableError("Away.", retry_after_s=1), openai.InternalServerError),
        (errors.InternalError("Bug."), openai.InternalServerError),
    ],
)
async def test_refusals_are_typed(
    client: openai.AsyncOpenAI, http: HttpLab, error: Exception, expected: type[openai.APIStatusError]
) -> None:
    http.refuse(error)
    for stream in (False, True):
        with pytest.raises(expected) as caught:
            await client.chat.completions.create(model="fake", messages=HI, stream=stream)
        assert caught.value.code
        assert caught.value.type
        assert caught.value.request_id


async def test_keys_models_and_parameters_are_typed(http: HttpLab, client: openai.AsyncOpenAI, lab: Lab) -> None:
    with pytest.raises(openai.AuthenticationError) as wrong_key:
        await client.with_options(api_key="wrong").models.list()
    assert wrong_key.value.code == "invalid_api_key"
    with pytest.raises(openai.PermissionDeniedError):
        await client.with_options(api_key="key-of-batch").models.list()
    with pytest.raises(openai.NotFoundError) as no_model:
        await client.chat.completions.create(model="gpt-5", messages=HI)
    assert (no_model.value.code, no_model.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="fake", messages=HI, temperature=3)
    assert bad.value.param == "temperature"
    lab.vision.step = raising(errors.MediaError("This is no image."))
    with pytest.raises(openai.BadRequestError) as bad_image:
        await client.chat.completions.create(model="fake", messages=[{"role": "user", "content": [image()]}])  # type: ignore[list-item, typeddict-item]
    assert (bad_image.value.code, bad_image.value.param) == ("invalid_image", "messages[0].content[0].image_url")


async def test_a_body_too_large_is_typed_though_it_is_not_read(lab: Lab) -> None:
    async with (
        running_http(lab, max_body_bytes=100_000) as http,
        openai.AsyncOpenAI(base_url=f"{http.url}/v1", api_key=KEY, max_retries=0) as client,
    ):
        messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x" * 20_000_000}]
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="fake", messages=messages)
        assert (caught.value.status_code, caught.value.code) == (413, "request_too_large")


async def test_a_stream_that_breaks_raises(client: openai.AsyncOpenAI, lab: Lab) -> None:
    async def break_off(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        yield chunk("Hel", 1)
        raise errors.UnavailableError("The decoder is gone.")

    lab.decoder.answer = break_off
    stream = await client.chat.completions.create(model="fake", messages=HI, stream=True)
    chunks = aiter(stream)
    assert [(await anext(chunks)).choices[0].delta.content for _ in range(2)] == ["", "Hel"]
    with pytest.raises(openai.APIError) as caught:
        await anext(chunks)
    assert caught.value.code == "unavailable"


async def test_retries_obey_what_they_are_told(client: openai.AsyncOpenAI, http: HttpLab) -> None:
    asked = http.refuse(errors.OverloadedError("Full.", retry_after_s=0.3), times=2)
    completion = await client.with_options(max_retries=2).chat.completions.create(model="fake", messages=HI)
    assert completion.choices[0].message.content == "Hello"
    assert len(asked) == 3
    assert all(later - earlier >= 0.3 for earlier, later in itertools.pairwise(asked))

    asked = http.refuse(errors.DeadlineError("Late."))
    with pytest.raises(openai.InternalServerError):
        await client.with_options(max_retries=2).chat.completions.create(model="fake", messages=HI)
    assert len(asked) == 1


async def test_a_retry_under_an_idempotency_key_is_answered_once(client: openai.AsyncOpenAI, lab: Lab) -> None:
    for stream in (False, True):
        ask = client.chat.completions.with_raw_response.create
        keyed = {"Idempotency-Key": f"order-{stream}"}
        first = await ask(model="fake", messages=HI, stream=stream, extra_headers=keyed)
        first_text = await first.http_response.aread()
        second = await ask(model="fake", messages=HI, stream=stream, extra_headers=keyed)
        assert await second.http_response.aread() == first_text
        assert second.headers["idempotent-replayed"] == "true"
    assert len(lab.decoder.calls.requests) == 2


async def test_headers_are_told(http: HttpLab, client: openai.AsyncOpenAI) -> None:
    http.budgets.append(Budget("requests", 60, 59, 0))
    response = await client.chat.completions.with_raw_response.create(model="fake", messages=HI)
    assert response.headers["x-ratelimit-remaining-requests"] == "59"
    assert response.request_id == response.headers["x-request-id"]
    assert int(response.headers["openai-processing-ms"]) >= 0
    assert response.parse().choices[0].message.content == "Hello"


async def test_closing_a_stream_cancels_it(lab: Lab) -> None:
    async def endless(request: decoder_pb2.GenerateRequest) -> Events:
        yield STARTED
        while True:
            yield chunk("x", 1)
            await asyncio.sleep(0.01)

    lab.decoder.answer = endless
    async with running_http(lab) as http, openai.AsyncOpenAI(base_url=f"{http.url}/v1", api_key=KEY) as client:
        stream = await client.chat.completions.create(model="fake", messages=HI, stream=True)
        await anext(aiter(stream))
        await stream.close()
        await asyncio.wait_for(lab.decoder.calls.cancelled.wait(), 20)


async def test_a_timeout_of_the_client_cancels_the_answer(client: openai.AsyncOpenAI, lab: Lab) -> None:
    lab.vision.step = forever
    messages = [{"role": "user", "content": [image()]}]
    with pytest.raises(openai.APITimeoutError):
        await client.with_options(timeout=0.5).chat.completions.create(model="fake", messages=messages)  # type: ignore[call-overload]
    await asyncio.wait_for(lab.vision.calls.cancelled.wait(), 20)


def ask_synchronously(url: str) -> tuple[str, str]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        whole = client.chat.completions.create(model="fake", messages=HI).choices[0].message.content
        stream = client.chat.completions.create(model="fake", messages=HI, stream=True)
        streamed = "".join(one.choices[0].delta.content or "" for one in stream)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="fake", messages=HI, n=0)
    return whole or "", streamed


async def test_the_synchronous_client(http: HttpLab) -> None:
    assert await asyncio.to_thread(ask_synchronously, http.url) == ("Hello", "Hello")


async def curl(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--show-error", "--max-time", "30", *arguments, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


async def test_plain_curl(http: HttpLab) -> None:
    url, json_header = f"{http.url}/v1/chat/completions", "Content-Type: application/json"
    key = f"Authorization: Bearer {KEY}"
    body = json.dumps({"model": "fake", "messages": HI, "stream": True})
    streamed = await curl("--no-buffer", url, "-H", key, "-H", json_header, "-d", body)
    assert streamed.count("data: ") == 5
    assert streamed.endswith("data: [DONE]\n\n")
    whole = json.loads(await curl(url, "-H", key, "-H", json_header, "-d", body.replace("true", "false")))
    assert whole["choices"][0]["message"]["content"] == "Hello"
    refused = await curl("--write-out", "%{http_code}", url, "-H", json_header, "-d", body)
    assert refused.endswith("401")
    assert json.loads(refused[:-3])["error"]["code"] == "invalid_api_key"
