"""What the gateway does beside chats: encode one medium, count a conversation's tokens, tell what is served."""

from __future__ import annotations

from contextlib import aclosing

from gateway import conversation
from gateway.admission import charges
from gateway.caller import Caller
from gateway.cluster import Cluster
from gateway.encoding import Encoded
from gateway.meter import Meter
from gateway.receipt import item_receipt
from gateway.request_media import RequestMedia
from gateway.waking.notices import Notices
from trichord.errors import RequestError
from trichord.telemetry import request_line
from trichord.v1 import decoder_pb2, gateway_pb2

MEDIA = ("image_bytes", "image_url", "audio_bytes", "media_handle")


async def encode(cluster: Cluster, request: gateway_pb2.EncodeRequest, caller: Caller) -> gateway_pb2.EncodeResponse:
    """One medium's embedding. Raises RequestError if the part is none, and what encoding it raises."""
    if request.part.WhichOneof("part") not in MEDIA:
        raise RequestError("Only an image or a sound can be encoded.", field="part")
    chat = gateway_pb2.ChatRequest(messages=[gateway_pb2.Message(parts=[request.part])])
    (item,) = await cluster.sources.items(chat, caller.tenant)
    item = item._replace(field=item.field.replace("messages[0].parts[0]", "part"))
    estimate = charges.estimate_media([item])
    async with cluster.admission.admitted(caller.tenant, estimate, caller.deadline.hop_s()) as grant:
        encoded = await cluster.item_encoder.encode(item, caller, Notices())
        Meter(grant).encoded(encoded)
    request_line.add(operation="encode", bytes=len(item.content), items=1, tokens=encoded.num_rows)
    return gateway_pb2.EncodeResponse(embedding=encoded.embedding, receipt=item_receipt(encoded))


async def count_tokens(
    cluster: Cluster, request: gateway_pb2.OmniServiceCountTokensRequest, caller: Caller
) -> gateway_pb2.OmniServiceCountTokensResponse:
    """A conversation's tokens. Raises what a chat with it would, before anything is generated."""
    chat = gateway_pb2.ChatRequest(model=request.model, messages=request.messages)
    conversation.check(chat, cluster.settings)
    await cluster.model(request.model, caller.deadline.hop_s())
    items = await cluster.sources.items(chat, caller.tenant)
    media = RequestMedia(items, cluster.item_encoder, caller, gateway_pb2.DEGRADATION_FAIL)
    estimate = charges.estimate_media(items)
    async with cluster.admission.admitted(caller.tenant, estimate, caller.deadline.hop_s()) as grant:
        meter = Meter(grant)
        async with aclosing(media.encode()) as outcomes:
            async for outcome in outcomes:
                if isinstance(outcome, Encoded):
                    meter.encoded(outcome)
        layouts = {indices: conversation.layout_only(embedding) for indices, embedding in media.embeddings.items()}
        messages = conversation.merge(chat, layouts, {})
        counted = decoder_pb2.CountTokensRequest(model=request.model, messages=messages)
        count = await cluster.decoder.count(counted, caller.deadline.hop_s())
    return gateway_pb2.OmniServiceCountTokensResponse(
        prompt_tokens=count.prompt_tokens, context_tokens=count.context_tokens
    )


async def get_model(cluster: Cluster, caller: Caller) -> gateway_pb2.OmniServiceGetModelResponse:
    """What is served. Raises UnavailableError while the decoder is away."""
    model = await cluster.decoder.model(caller.deadline.hop_s())
    return gateway_pb2.OmniServiceGetModelResponse(
        model=model.model,
        context_tokens=model.context_tokens,
        max_images=model.max_images,
        max_audios=model.max_audios,
        max_request_bytes=cluster.settings.max_message_bytes,
    )
