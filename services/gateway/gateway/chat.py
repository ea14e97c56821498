"""One chat, from request to last token: check, admit, encode in parallel, merge in order, generate, stream.

Knows the order of work; each step's how is elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from gateway import chat_span, conversation
from gateway import receipt as receipts
from gateway.admission import charges
from gateway.admission.priority_queue import Priority
from gateway.backends import caller_field, check_context
from gateway.caller import Caller
from gateway.cluster import Cluster
from gateway.degradation import Skipped
from gateway.encoding import Encoded
from gateway.meter import Meter
from gateway.metrics import chats
from gateway.metrics.chats import Face
from gateway.receipt import Receipt, item_receipt
from gateway.request_media import RequestMedia
from gateway.usage import Bill
from trichord.errors import TrichordError, UnavailableError
from trichord.telemetry import request_line, spans
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

Event = gateway_pb2.ChatResponse


class Chat:
    """One request in progress."""

    def __init__(self, cluster: Cluster, request: gateway_pb2.ChatRequest, caller: Caller, face: Face) -> None:
        self._cluster, self._request, self._caller, self._face = cluster, request, caller, face
        self._deadline = caller.deadline
        self._receipt = Receipt(spans.current_trace_id())

    def events(self) -> AsyncGenerator[Event, None]:
        """All events, as OmniService.Chat orders them. Closing it cancels everything in progress."""
        return chat_span.spanned(self._events())

    async def _events(self) -> AsyncGenerator[Event, None]:
        cluster, request, tenant = self._cluster, self._request, self._caller.tenant
        with chats.observed(self._face, request, self._receipt) as observed:
            conversation.check(request, cluster.settings)
            chat_span.asked(request)
            request_line.add(operation="chat", request_id=request.request_id)
            items = await cluster.sources.items(request, tenant)
            observed.modalities.update(item.modality for item in items)
            model = await cluster.model(request.model, self._deadline.hop_s())
            chat_span.named(model.model)
            num_bytes = sum(len(item.content) for item in items)
            request_line.add(model=model.model, items=len(items), bytes=num_bytes)
            self._media = RequestMedia(items, cluster.item_encoder, self._caller, request.degradation)
            self._bill = Bill(cluster.report_usage, request, self._caller, model.model, self._receipt.stages.trace_id)
            self._estimate = charges.estimate(request, items, model)
            async with cluster.admission.admitted(tenant, self._estimate, self._deadline.hop_s()) as grant:
                self._meter = observed.meter = Meter(grant)
                try:
                    async with aclosing(self._admitted(model)) as events:
                        async for event in events:
                            yield event
                except BaseException as error:
                    self._broke_off(error)
                    raise
                finally:
                    self._meter.ended()

    async def _admitted(self, model: decoder_pb2.DecoderServiceGetModelResponse) -> AsyncGenerator[Event, None]:
        if self._media.items:
            await self._check_before_paying(model)
        self._receipt.admitted()
        yield Event(started=gateway_pb2.ChatStarted(request_id=self._request.request_id, model=model.model))
        async with aclosing(self._media.encode()) as outcomes:
            async for outcome in outcomes:
                yield self._media_event(outcome)
        if self._media.items:
            self._receipt.encoded()
        check_context(self._media.num_rows, model.context_tokens)
        async with aclosing(self._generated()) as answer:
            async for event in answer:
                yield event

    async def _check_before_paying(self, model: decoder_pb2.DecoderServiceGetModelResponse) -> None:
        """Lets the decoder refuse what cannot succeed whatever the media hold: roles, counts, text over the context."""
        request = decoder_pb2.CountTokensRequest(
            model=self._request.model,
            messages=conversation.outline(self._request, self._media.items, model.tokens_per_tile),
            sampling=self._request.sampling if self._request.HasField("sampling") else None,
        )
        with spans.span("check"), _named_for_the_caller(self._media):
            count = await self._cluster.decoder.count(request, self._deadline.hop_s())
        prompt = count.prompt_tokens
        check_context(prompt.text + prompt.image + prompt.audio, count.context_tokens)

    def _media_event(self, outcome: Encoded | Skipped | gateway_pb2.Waiting) -> Event:
        if isinstance(outcome, gateway_pb2.Waiting):
            return Event(waiting=outcome)
        if isinstance(outcome, Skipped):
            i, j = outcome.item.indices
            skipped = gateway_pb2.ItemSkipped(message_index=i, part_index=j, reason=outcome.reason)
            return Event(item_skipped=skipped)
        self._meter.encoded(outcome)
        receipt = item_receipt(outcome)
        i, j = outcome.item.indices
        return Event(item_encoded=gateway_pb2.ItemEncoded(message_index=i, part_index=j, receipt=receipt))

    async def _generated(self) -> AsyncGenerator[Event, None]:
        """The answer, in its turn."""
        with spans.span("merge"):
            request = self._generate_request()
            affinity_key = self._affinity_key(request)
        self._receipt.merged()
        lane = self._cluster.admission.lanes.slot(
            "text", self._caller.tenant, self._estimate.tokens, self._caller.priority, self._deadline.hop_s()
        )
        async with lane as ticket:
            self._receipt.queued(ticket.waited_s)
            answer = self._cluster.decoder.generate(request, self._deadline.hop_s(), affinity_key)
            with _named_for_the_caller(self._media):
                async with aclosing(answer):
                    async for event in answer:
                        if passed := self._answer_event(event):
                            yield passed
                        if event.HasField("finished"):
                            return
        raise UnavailableError("The decoder ended the answer early. Try again.", retry_after_s=1.0)

    def _answer_event(self, event: decoder_pb2.GenerateResponse) -> Event | None:
        match event.WhichOneof("event"):
            case "started":
                self._meter.prompt(event.started.prompt_tokens)
            case "chunk":
                self._receipt.first_token()
                self._meter.generated(event.chunk)
                return Event(token=_token_event(event.chunk))
            case "finished":
                self._meter.finished(event.finished)
                finished = self._receipt.finished(event.finished, self._media.encoded, self._brought())
                self._bill.send(finished.usage)
                return Event(finished=finished)
        return None

    def _broke_off(self, error: BaseException) -> None:
        """Who left, or is out of time, has what came until now."""
        is_callers_doing = chats.outcome(error) in ("cancelled", "expired")
        if is_callers_doing and self._meter.has_begun and not self._receipt.is_finished:
            usage = receipts.usage(self._meter.so_far(), self._media.encoded, self._brought())
            self._bill.send(usage, broken_off=True)

    def _generate_request(self) -> decoder_pb2.GenerateRequest:
        return decoder_pb2.GenerateRequest(
            request_id=self._request.request_id,
            model=self._request.model,
            messages=conversation.merge(self._request, self._media.embeddings, self._media.notes),
            sampling=self._request.sampling if self._request.HasField("sampling") else None,
            priority=self._priority(),
            cache_scope=self._caller.principal.cache_scope.hex(),
        )

    def _priority(self) -> decoder_pb2.Priority:
        """A job's is a batch's, whatever its items say."""
        is_batch = self._caller.priority is Priority.BATCH
        return decoder_pb2.PRIORITY_BATCH if is_batch else self._request.priority

    def _affinity_key(self, request: decoder_pb2.GenerateRequest) -> bytes:
        """What a conversation's prompts begin with, turn after turn: the decoder that has it cached is the best."""
        begin = hashlib.sha256(self._caller.principal.cache_scope)
        for message in conversation.opening(request.messages):
            for part in message.parts:
                begin.update((part.text or part.embedding.content_sha256).encode() + b"\0")
        return begin.digest()

    def _brought(self) -> list[tensor_pb2.Embedding]:
        parts = (part for message in self._request.messages for part in message.parts)
        return [part.embedding for part in parts if part.WhichOneof("part") == "embedding"]


@contextmanager
def _named_for_the_caller(media: RequestMedia) -> Iterator[None]:
    """A decoder's errors name parts as the decoder knows them; the caller knows them otherwise."""
    try:
        yield
    except TrichordError as error:
        error.at(caller_field(error.field, media.items))
        raise


def _token_event(chunk: decoder_pb2.TokenChunk) -> gateway_pb2.ChatToken:
    return gateway_pb2.ChatToken(
        text=chunk.text, token_ids=chunk.token_ids, sample=chunk.sample, logprobs=chunk.logprobs
    )
