"""The front door of a cluster of real processes: OpenAI's client, media seen before, handles, the page."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import urllib.request

import openai
import pytest

from tests.e2e.media import png, wav
from trichord.client import OmniClient, audio, image, user
from trichord.v1 import decoder_pb2, gateway_pb2

HTTP_PORT_OFFSET, VISION_METRICS_OFFSET = 4, 21


@pytest.fixture
async def openai_client(tiny_cluster):
    url = f"http://127.0.0.1:{tiny_cluster.port + HTTP_PORT_OFFSET}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def openai_message(picture: bytes, sound: bytes | None = None, text: str = "What?"):
    url = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]
    if sound:
        data = base64.b64encode(sound).decode()
        parts.insert(1, {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
    return {"role": "user", "content": parts}


def images_encoded(cluster) -> int:
    """By Triton's own count."""
    url = f"http://127.0.0.1:{cluster.port + VISION_METRICS_OFFSET}/metrics"
    with urllib.request.urlopen(url, timeout=10) as page:
        text = page.read().decode()
    return int(float(re.search(r'^nv_inference_request_success\{model="siglip".*?} (\S+)$', text, re.M)[1]))


async def test_the_official_client_streams_an_answer_about_an_image_and_a_sound(tiny_cluster, openai_client):
    picture, sound = png(310, 170), wav(1.5)
    stream = await openai_client.chat.completions.create(
        model="tiny",
        messages=[openai_message(picture, sound)],
        max_tokens=12,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usage = chunks[-1].usage
    assert usage.prompt_tokens_details.image_tokens > 0
    assert usage.prompt_tokens_details.audio_tokens > 0

    async with OmniClient(tiny_cluster.gateway) as client:
        sampling = decoder_pb2.SamplingParams(max_tokens=12)
        events = [event async for event in client.chat([user(image(picture), audio(sound), "What?")], sampling)]
    assert text == "".join(event.token.text for event in events), "both faces answer alike"
    assert events[-1].finished.usage.cache_hits == 2, "the embeddings of the first answer are kept"


async def test_ten_requests_at_once_with_one_new_image_cost_one_encode(tiny_cluster, openai_client):
    picture, before = png(333, 222), images_encoded(tiny_cluster)
    answers = await asyncio.gather(
        *(
            openai_client.chat.completions.create(
                model="tiny", messages=[openai_message(picture, text=str(n))], max_tokens=4
            )
            for n in range(10)
        )
    )
    assert all(answer.usage.prompt_tokens_details.image_tokens > 0 for answer in answers)
    assert images_encoded(tiny_cluster) == before + 1


async def test_an_embedding_is_encoded_once_counted_and_brought_back(tiny_cluster):
    async with OmniClient(tiny_cluster.gateway) as client:
        part = image(png(120, 90))
        encoded = await client.encode(part)
        assert encoded.receipt.source == gateway_pb2.EMBEDDING_SOURCE_ENCODED
        assert encoded.receipt.tokens == encoded.embedding.values.shape[0] > 0
        counted = await client.count_tokens([user(part, "a")])
        assert counted.prompt_tokens.image >= encoded.receipt.tokens
        brought = gateway_pb2.Part(embedding=encoded.embedding)
        sampling = decoder_pb2.SamplingParams(max_tokens=6, ignore_eos=True)
        texts = [
            "".join([event.token.text async for event in client.chat([user(one, "a")], sampling)])
            for one in (part, brought)
        ]
    assert texts[0] == texts[1]


async def test_an_answer_is_held_to_a_schema(openai_client):
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    answer = await openai_client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "JSON, please."}],
        max_tokens=200,
        seed=7,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}},
    )
    choice = answer.choices[0]
    assert choice.finish_reason in ("stop", "length")
    if choice.finish_reason == "stop":
        assert json.loads(choice.message.content)["ok"] in (True, False)


def test_the_page_is_served(tiny_cluster):
    with urllib.request.urlopen(f"http://127.0.0.1:{tiny_cluster.port + HTTP_PORT_OFFSET}/", timeout=10) as page:
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert b"Trichord" in page.read()


async def test_a_page_under_a_name_of_its_own_is_refused(tiny_cluster, openai_client):
    """As a browser asks for a stranger's name that resolves to 127.0.0.1: without a key, and from the same origin."""
    with pytest.raises(openai.PermissionDeniedError):
        await openai_client.models.list(extra_headers={"host": "evil.example"})
    assert [model.id async for model in openai_client.models.list()] == ["tiny"]
