"""A whole answer, collected from its events. Knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from gateway.openai_http import answer
from gateway.openai_http.answer import Heading
from gateway.openai_http.paths import Paths
from gateway.openai_http.responses import Choice, Completion, FinishReason
from gateway.openai_http.schema import CompletionRequest
from trichord.errors import UnavailableError
from trichord.v1 import decoder_pb2, gateway_pb2


class Sample:
    """One of n answers, as far as it has come."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.logprobs: list[decoder_pb2.TokenLogprobs] = []

    def choice(self, index: int, reason: FinishReason, tell_logprobs: bool) -> Choice:
        """The finished answer."""
        return {
            "index": index,
            "message": {"role": "assistant", "content": "".join(self.texts), "refusal": None},
            "logprobs": answer.logprobs(self.logprobs) if tell_logprobs else None,
            "finish_reason": reason,
        }


async def collect(
    events: AsyncGenerator[gateway_pb2.ChatResponse, None], wanted: CompletionRequest, heading: Heading, paths: Paths
) -> Completion:
    """The completion that the events make. Raises what they raise, and UnavailableError if they end early."""
    samples = [Sample() for _ in range(wanted.n or 1)]
    skipped: list[gateway_pb2.ItemSkipped] = []
    async with aclosing(events):
        async for event in events:
            match event.WhichOneof("event"):
                case "token":
                    sample = samples[event.token.sample]
                    sample.texts.append(event.token.text)
                    sample.logprobs.extend(event.token.logprobs)
                case "item_skipped":
                    skipped.append(event.item_skipped)
                case "finished":
                    extras = answer.extras(event.finished, skipped, paths, bool(wanted.include_receipt))
                    completion = whole(heading, event.finished, samples, bool(wanted.logprobs))
                    return {**completion, "trichord": extras} if extras else completion
    raise UnavailableError("The answer ended early. Try again.", retry_after_s=1.0)


def whole(
    heading: Heading, finished: gateway_pb2.ChatFinished, samples: list[Sample], tell_logprobs: bool
) -> Completion:
    """The completion that n finished answers are."""
    reasons = answer.finish_reasons(finished, len(samples))
    return {
        "id": heading.id,
        "object": "chat.completion",
        "created": heading.created,
        "model": heading.model,
        "choices": [
            sample.choice(index, reason, tell_logprobs)
            for index, (sample, reason) in enumerate(zip(samples, reasons, strict=True))
        ],
        "usage": answer.usage(finished.usage),
        "service_tier": "default",
        "system_fingerprint": heading.system_fingerprint,
    }
