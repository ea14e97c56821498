"""What one tenant put or had encoded is nothing to another, all the way through the gateway."""

from __future__ import annotations

import pytest

from gateway.admission.priority_queue import Priority
from gateway.caller import Caller
from gateway.chat import Chat
from gateway.deadline import Deadline
from gateway.handles.calls import put_media
from gateway.identity.principal import Principal, Scope
from tests.unit.gateway.lab import Lab, chat_request, image
from trichord.errors import NotFoundError
from trichord.v1 import gateway_pb2


def caller(tenant: str) -> Caller:
    principal = Principal.of(tenant, "key", list(Scope), b"s" * 32)
    return Caller(principal, Priority.LIVE, Deadline(30, 0.05))


async def chat(lab: Lab, tenant: str, part: gateway_pb2.Part) -> gateway_pb2.Usage:
    """What a tenant's question about a medium took."""
    events = [event async for event in Chat(lab.cluster, chat_request(part), caller(tenant), "grpc").events()]
    return events[-1].finished.usage


async def test_an_embedding_is_kept_for_its_own_tenant_only(lab: Lab) -> None:
    hits = [(await chat(lab, tenant, image(b"same"))).cache_hits for tenant in ("acme", "acme", "other")]
    assert hits == [0, 1, 0]
    assert len(lab.vision.calls.requests) == 2


async def test_prefixes_are_reused_within_a_tenant_only(lab: Lab) -> None:
    for tenant in ("acme", "acme", "other"):
        await chat(lab, tenant, image(b"same"))
    first, second, third = (request.cache_scope for request in lab.decoder.calls.requests)
    assert first == second != third


async def test_a_handle_is_good_in_its_own_tenant_only(lab: Lab) -> None:
    kept = await put_media(gateway_pb2.PutMediaRequest(image_bytes=b"I"), "acme", lab.cluster.handles)
    part = gateway_pb2.Part(media_handle=kept.media_handle)
    assert (await chat(lab, "acme", part)).images == 1
    with pytest.raises(NotFoundError):
        await chat(lab, "other", part)
