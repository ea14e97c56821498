"""Calls beside chats, and what requests share: one encode of one medium, budgets, a tenant's own cache."""

from __future__ import annotations

import asyncio

import pytest

from gateway.admission.settings import AdmissionSettings
from gateway.identity.guard import ANONYMOUS
from tests.redis_lab import RedisServer
from tests.unit.gateway.fakes import audio_embedding, image_embedding
from tests.unit.gateway.lab import Lab, audio, chat_request, image, message, refused, running_lab, text
from trichord.errors import NotFoundError, QuotaError, RequestError
from trichord.v1 import gateway_pb2, tensor_pb2


@pytest.mark.parametrize(
    ("part", "made"), [(image(b"I"), image_embedding(b"I")), (audio(b"AB"), audio_embedding(b"AB"))]
)
async def test_a_medium_is_encoded_without_generating(
    lab: Lab, part: gateway_pb2.Part, made: tensor_pb2.Embedding
) -> None:
    encoded = await lab.stub.Encode(gateway_pb2.EncodeRequest(part=part))
    assert encoded.embedding == made
    assert encoded.receipt.source == gateway_pb2.EMBEDDING_SOURCE_ENCODED
    assert lab.decoder.calls.requests == []
    again = await lab.stub.Encode(gateway_pb2.EncodeRequest(part=part))
    assert again.receipt.source == gateway_pb2.EMBEDDING_SOURCE_STORE
    assert again.embedding.values == made.values


@pytest.mark.parametrize("part", [text(), gateway_pb2.Part(), gateway_pb2.Part(embedding=image_embedding(b"I"))])
async def test_only_media_are_encoded(lab: Lab, part: gateway_pb2.Part) -> None:
    with refused() as refusal:
        await lab.stub.Encode(gateway_pb2.EncodeRequest(part=part))
    assert type(refusal.error) is RequestError
    assert refusal.error.field == "part"


async def test_an_unknown_handle_is_named_where_it_stands(lab: Lab) -> None:
    with refused() as refusal:
        await lab.stub.Encode(gateway_pb2.EncodeRequest(part=gateway_pb2.Part(media_handle="media-unknown")))
    assert isinstance(refusal.error, NotFoundError)


async def test_tokens_are_counted_with_their_media(lab: Lab) -> None:
    request = gateway_pb2.OmniServiceCountTokensRequest(messages=[message(text(), image(), audio())])
    counted = await lab.stub.CountTokens(request)
    assert (counted.prompt_tokens.image, counted.prompt_tokens.audio) == (2, 5)
    assert counted.context_tokens == 64
    (asked,) = lab.decoder.counts.requests
    assert not any(part.embedding.HasField("values") for part in asked.messages[0].parts), "layouts are enough"
    assert lab.decoder.calls.requests == []


async def test_ten_at_once_cost_one_encode(lab: Lab) -> None:
    may_go_on = asyncio.Event()

    async def held(content: bytes) -> None:
        await may_go_on.wait()

    lab.vision.step = held
    answers = [asyncio.create_task(lab.chat(chat_request(image(b"same"), text(str(n))))) for n in range(10)]
    await asyncio.wait_for(lab.vision.calls.entered.wait(), 30)
    may_go_on.set()
    usages = [events[-1].finished.usage for events in await asyncio.gather(*answers)]
    assert len(lab.vision.calls.requests) == 1
    assert sorted(usage.cache_hits for usage in usages) == [0] + [1] * 9


async def test_prefixes_are_shared_within_a_tenant_and_by_nothing_a_client_sends(lab: Lab) -> None:
    await lab.chat(chat_request(text("a")))
    await lab.chat(chat_request(text("b"), request_id="other"))
    scopes = {request.cache_scope for request in lab.decoder.calls.requests}
    assert len(scopes) == 1
    assert ANONYMOUS not in scopes.pop()


async def test_a_spent_budget_is_refused_and_says_which_and_when(redis_server: RedisServer) -> None:
    plan = AdmissionSettings.model_validate({"requests_per_min": 2})
    async with running_lab(redis_server, plan=plan) as lab:
        for _ in range(2):
            await lab.chat(chat_request(text()))
        with refused() as refusal:
            await lab.chat(chat_request(text()))
    assert isinstance(refusal.error, QuotaError)
    assert refusal.error.quota == "requests"
    assert 0 < (refusal.error.retry_after_s or 0) <= 60
