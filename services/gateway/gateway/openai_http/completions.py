"""POST /v1/chat/completions: read, check, answer whole or in chunks, remember under the idempotency key."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import NamedTuple

from opentelemetry import trace
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from gateway.identity.principal import Principal
from gateway.metrics import chats
from gateway.openai_http import body, completion, idempotency, parameters, strict_json, traced
from gateway.openai_http.answer import Heading
from gateway.openai_http.body import BodyShare
from gateway.openai_http.chunks import Chunks
from gateway.openai_http.desk import Desk
from gateway.openai_http.event_stream import CONTENT_TYPE, DONE, EventStream, Remark, frame, start_message, to_json
from gateway.openai_http.idempotency import Slot, Stored
from gateway.openai_http.schema import CompletionRequest
from gateway.openai_http.translation import Translated, translate
from trichord.errors import NotFoundError, TrichordError
from trichord.telemetry import names
from trichord.v1 import gateway_pb2

JSON = "application/json"

INLINE_BYTES = 64 * 1024
"""Larger bodies are parsed in a thread, so that they do not hold up other clients' streams."""

Keep = Callable[[bytes], None]
Events = AsyncGenerator[gateway_pb2.ChatResponse, None]


class Asked(NamedTuple):
    """A request, read and translated."""

    wanted: CompletionRequest
    translated: Translated
    digest: bytes
    """sha256 of the body."""


class ChatCompletions:
    """The route's ASGI application."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        with self._desk.drain.busy(), self._desk.bodies.share() as share:
            asked = await self._read(scope, receive, share)
            stream = EventStream(send, self._desk.settings)
            try:
                await self._desk.drain.work(receive, self._respond(scope, send, asked, stream))
            except ClientDisconnect:
                raise
            except Exception as error:
                if isinstance(error, TrichordError):
                    error.at(asked.translated.paths.of(error.field))
                if not stream.has_started:
                    raise
                traced.failed(error)
                await stream.fail(error)

    async def _read(self, scope: Scope, receive: Receive, share: BodyShare) -> Asked:
        raw = await body.read(Headers(scope=scope), receive, self._desk.settings, share)
        if len(raw) <= INLINE_BYTES:
            return self._parse(raw, scope["request_id"])
        return await asyncio.to_thread(self._parse, raw, scope["request_id"])

    def _parse(self, raw: bytes, request_id: str) -> Asked:
        wanted = parameters.parse(strict_json.parse_object(raw))
        translated = translate(wanted, request_id, self._desk.settings.max_media_bytes)
        return Asked(wanted, translated, hashlib.sha256(raw).digest())

    async def _respond(self, scope: Scope, send: Send, asked: Asked, stream: EventStream) -> None:
        principal: Principal = scope["principal"]
        slot = _slot(Headers(scope=scope), principal, asked)
        kept = await self._desk.kept.claim(slot) if slot else None
        if kept:
            await _send_whole(send, kept, {"idempotent-replayed": "true"})
            return
        async with self._remembered(slot, CONTENT_TYPE if asked.wanted.stream else JSON) as keep:
            with chats.refusals("http", asked.translated.request):
                heading = await self._heading(asked)
            trace.get_current_span().set_attribute(names.RESPONSE_ID, heading.id)
            events = self._desk.core.answer(asked.translated.request, principal)
            if asked.wanted.stream:
                await stream.pump(_frames(events, asked, heading, keep))
            else:
                whole = await completion.collect(events, asked.wanted, heading, asked.translated.paths)
                keep(content := to_json(whole))
                await _send_whole(send, Stored(JSON, content), {})

    async def _heading(self, asked: Asked) -> Heading:
        model = await self._desk.core.model()
        if asked.wanted.model != model.name:
            raise NotFoundError(f"There is no model {asked.wanted.model!r} here; it is {model.name!r}.", field="model")
        return Heading.new(model.name, model.fingerprint)

    @asynccontextmanager
    async def _remembered(self, slot: Slot | None, content_type: str) -> AsyncIterator[Keep]:
        """Takes a response piece by piece; keeps it under the slot if all goes well, gives the slot up if not."""
        if slot is None:
            yield lambda piece: None
            return
        pieces: list[bytes] = []
        try:
            yield pieces.append
        except BaseException:
            await self._desk.kept.release(slot)
            raise
        await self._desk.kept.finish(slot, Stored(content_type, b"".join(pieces)))


async def _frames(events: Events, asked: Asked, heading: Heading, keep: Keep) -> AsyncGenerator[bytes, None]:
    chunks = Chunks(asked.wanted, heading, asked.translated.paths).of(events)
    async with aclosing(chunks):
        async for chunk in chunks:
            data = frame(chunk)
            if not isinstance(chunk, Remark):
                keep(data)
            yield data
    keep(DONE)
    yield DONE


def _slot(headers: Headers, principal: Principal, asked: Asked) -> Slot | None:
    key = idempotency.key_of(headers)
    return None if key is None else Slot(principal.tenant, key, asked.digest)


async def _send_whole(send: Send, stored: Stored, headers: dict[str, str]) -> None:
    length = {"content-length": str(len(stored.content))}
    await send(start_message(200, stored.content_type, {**headers, **length}))
    await send({"type": "http.response.body", "body": stored.content, "more_body": False})
