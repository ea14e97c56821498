"""An answer as stream chunks, event by event. Knows nothing of HTTP or of server-sent events.

Order: a chunk with the role for each of n answers, chunks with text, a chunk with the reason for each, then, if asked
for, exactly one with usage and no choices.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from gateway.openai_http import answer
from gateway.openai_http.answer import Heading
from gateway.openai_http.event_stream import Remark
from gateway.openai_http.paths import Paths
from gateway.openai_http.responses import Chunk, ChunkChoice, Delta, FinishReason, Logprobs
from gateway.openai_http.schema import CompletionRequest, StreamOptions
from gateway.waking.room import WORDS
from trichord.errors import UnavailableError
from trichord.v1 import gateway_pb2

PADDED_CHARS = 32
"""With obfuscation, text and padding together are a multiple of this many characters."""


class Chunks:
    """The chunks of one answer."""

    def __init__(self, wanted: CompletionRequest, heading: Heading, paths: Paths) -> None:
        self._wanted, self._heading, self._paths = wanted, heading, paths
        self._options = wanted.stream_options or StreamOptions(include_usage=None, include_obfuscation=None)
        self._num_samples = wanted.n or 1
        self._skipped: list[gateway_pb2.ItemSkipped] = []
        self._has_begun = False

    async def of(self, events: AsyncGenerator[gateway_pb2.ChatResponse, None]) -> AsyncGenerator[Chunk | Remark, None]:
        """All chunks, with a remark where an encoder is waited for.

        Raises what the events raise, and UnavailableError if they end early.
        """
        async with aclosing(events):
            async for event in events:
                match event.WhichOneof("event"):
                    case "token":
                        for chunk in self._of_token(event.token):
                            yield chunk
                    case "item_skipped":
                        self._skipped.append(event.item_skipped)
                    case "waiting":
                        yield Remark(f"waking {WORDS[event.waiting.modality]}")
                    case "finished":
                        for chunk in self._of_finish(event.finished):
                            yield chunk
                        return
        raise UnavailableError("The answer ended early. Try again.", retry_after_s=1.0)

    def _of_token(self, token: gateway_pb2.ChatToken) -> Iterator[Chunk]:
        yield from self._beginning()
        if token.text or token.logprobs:
            logprobs = answer.logprobs(token.logprobs) if self._wanted.logprobs else None
            yield self._chunk(token.sample, {"content": token.text}, logprobs=logprobs)

    def _of_finish(self, finished: gateway_pb2.ChatFinished) -> Iterator[Chunk]:
        yield from self._beginning()
        extras = answer.extras(finished, self._skipped, self._paths, bool(self._wanted.include_receipt))
        for index, reason in enumerate(answer.finish_reasons(finished, self._num_samples)):
            chunk = self._chunk(index, {}, finish_reason=reason)
            if extras and index == 0:
                chunk["trichord"] = extras
            yield chunk
        if self._options.include_usage:
            yield {**self._frame(), "choices": [], "usage": answer.usage(finished.usage)}

    def _beginning(self) -> Iterator[Chunk]:
        if not self._has_begun:
            self._has_begun = True
            for index in range(self._num_samples):
                yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})

    def _chunk(
        self, index: int, delta: Delta, logprobs: Logprobs | None = None, finish_reason: FinishReason | None = None
    ) -> Chunk:
        chunk, choice = self._frame(), ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=None)
        choice["finish_reason"] = finish_reason
        chunk["choices"] = [choice]
        if self._options.include_obfuscation:
            num_chars = -len(delta.get("content", "")) % PADDED_CHARS
            chunk["obfuscation"] = secrets.token_hex(PADDED_CHARS // 2)[:num_chars]
        return chunk

    def _frame(self) -> Chunk:
        frame: Chunk = {
            "id": self._heading.id,
            "object": "chat.completion.chunk",
            "created": self._heading.created,
            "model": self._heading.model,
            "choices": [],
            "service_tier": "default",
            "system_fingerprint": self._heading.system_fingerprint,
        }
        if self._options.include_usage:
            frame["usage"] = None
        return frame
