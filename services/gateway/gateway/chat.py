"""One chat, from request to last token: check, encode in parallel, merge in order, generate, stream.

Knows the order of work; each step's how is elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from gateway import conversation
from gateway.backends import Decoder, Encoded, Encoder, caller_field, check_context
from gateway.conversation import Item
from gateway.deadline import Deadline
from gateway.media_store import MediaStore
from gateway.receipt import Receipt, item_receipt
from gateway.settings import GatewaySettings
from gateway.trace import TraceContext
from trichord.errors import NotFoundError, TrichordError, UnavailableError
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

Event = gateway_pb2.ChatResponse


@dataclass(frozen=True)
class Cluster:
    """What a chat needs of the rest of the cluster."""

    encoders: Mapping[tensor_pb2.Modality, Encoder]
    decoder: Decoder
    store: MediaStore
    settings: GatewaySettings

    async def close(self) -> None:
        """Closes all connections."""
        await asyncio.gather(self.decoder.close(), *(encoder.close() for encoder in self.encoders.values()))


class Chat:
    """One request in progress."""

    def __init__(
        self, cluster: Cluster, request: gateway_pb2.ChatRequest, deadline: Deadline, trace: TraceContext
    ) -> None:
        self._cluster, self._request, self._deadline, self._trace = cluster, request, deadline, trace
        self._receipt = Receipt(trace.trace_id)
        self._items: list[Item] = []
        self._encoded: list[Encoded] = []

    async def events(self) -> AsyncGenerator[Event, None]:
        """All events, as OmniService.Chat orders them. Closing it cancels everything in progress."""
        conversation.check(self._request, self._cluster.settings)
        self._items = conversation.media_items(self._request, self._cluster.store)
        model = await self._cluster.decoder.model(self._deadline.hop_s())
        if self._request.model not in ("", model.model):
            raise NotFoundError(f"This deployment serves {model.model!r} only.", field="model")
        if self._items:
            await self._check_before_paying(model)
        self._receipt.stages.admit_ms = self._receipt.elapsed_ms()
        yield Event(started=gateway_pb2.ChatStarted(request_id=self._request.request_id, model=model.model))
        async with aclosing(self._encode()) as encoded_items:
            async for encoded in encoded_items:
                yield Event(item_encoded=_item_event(encoded))
        check_context(sum(encoded.num_rows for encoded in self._encoded), model.context_tokens)
        async with aclosing(self._generate()) as answer:
            async for event in answer:
                yield event

    async def _check_before_paying(self, model: decoder_pb2.DecoderServiceGetModelResponse) -> None:
        """Lets the decoder refuse what cannot succeed whatever the media hold: roles, counts, text over the context."""
        request = decoder_pb2.CountTokensRequest(
            model=self._request.model,
            messages=conversation.outline(self._request, self._items, model.tokens_per_tile),
            sampling=self._request.sampling if self._request.HasField("sampling") else None,
        )
        try:
            await self._cluster.decoder.check(request, self._deadline.hop_s(), self._trace.metadata())
        except TrichordError as error:
            error.at(caller_field(error.field, self._items))
            raise

    async def _encode(self) -> AsyncGenerator[Encoded, None]:
        """Every item at once; each as it is ready. The first failure cancels the others."""
        tasks = [asyncio.create_task(self._encode_item(item), name=f"encode {item.field}") for item in self._items]
        try:
            for ready in asyncio.as_completed(tasks):
                encoded = await ready
                self._encoded.append(encoded)
                yield encoded
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._receipt.stages.encode_ms = self._receipt.elapsed_ms() - self._receipt.stages.admit_ms if tasks else 0.0

    async def _encode_item(self, item: Item) -> Encoded:
        encoder = self._cluster.encoders[item.modality]
        return await encoder.encode(item, self._deadline.hop_s(), self._trace.metadata())

    async def _generate(self) -> AsyncGenerator[Event, None]:
        self._encoded.sort(key=lambda encoded: (encoded.item.message_index, encoded.item.part_index))
        before_ms = self._receipt.elapsed_ms()
        request = self._generate_request()
        self._receipt.stages.merge_ms = self._receipt.elapsed_ms() - before_ms
        answer = self._cluster.decoder.generate(request, self._deadline.hop_s(), self._trace.metadata())
        try:
            async with aclosing(answer):
                async for event in answer:
                    if event.HasField("chunk"):
                        self._receipt.first_token()
                        yield Event(token=_token_event(event.chunk))
                    elif event.HasField("finished"):
                        yield Event(finished=self._receipt.finished(event.finished, self._encoded, self._brought()))
                        return
        except TrichordError as error:
            error.at(caller_field(error.field, self._items))
            raise
        raise UnavailableError("The decoder ended the answer early. Try again.", retry_after_s=1.0)

    def _generate_request(self) -> decoder_pb2.GenerateRequest:
        embeddings = {(e.item.message_index, e.item.part_index): e.embedding for e in self._encoded}
        return decoder_pb2.GenerateRequest(
            request_id=self._request.request_id,
            model=self._request.model,
            messages=conversation.merge(self._request, embeddings),
            sampling=self._request.sampling if self._request.HasField("sampling") else None,
            priority=self._request.priority,
        )

    def _brought(self) -> list[tensor_pb2.Embedding]:
        parts = (part for message in self._request.messages for part in message.parts)
        return [part.embedding for part in parts if part.WhichOneof("part") == "embedding"]


def _token_event(chunk: decoder_pb2.TokenChunk) -> gateway_pb2.ChatToken:
    return gateway_pb2.ChatToken(
        text=chunk.text, token_ids=chunk.token_ids, sample=chunk.sample, logprobs=chunk.logprobs
    )


def _item_event(encoded: Encoded) -> gateway_pb2.ItemEncoded:
    item = encoded.item
    return gateway_pb2.ItemEncoded(
        message_index=item.message_index, part_index=item.part_index, receipt=item_receipt(encoded)
    )
