"""A whole answer, put together from its events. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trichord.v1 import decoder_pb2, gateway_pb2


@dataclass(frozen=True)
class Sample:
    """One of n answers to one prompt."""

    text: str
    finish_reason: str
    """``end_of_turn``, ``stop_string`` or ``length``."""
    token_ids: Sequence[int]
    """Ends of turn are not among them."""
    logprobs: Sequence[decoder_pb2.TokenLogprobs]
    """One for each of ``token_ids`` if they were asked for, else empty."""


@dataclass(frozen=True)
class Answer:
    """What a chat answered, and what it took."""

    request_id: str
    model: str
    samples: Sequence[Sample]
    """All n answers; the properties below are the first's."""
    usage: gateway_pb2.Usage
    receipt: gateway_pb2.StageReceipt
    skipped: Sequence[gateway_pb2.ItemSkipped]
    """Media that were left out of the prompt, as ``degradation`` allowed."""

    @property
    def text(self) -> str:
        """The answer."""
        return self.samples[0].text

    @property
    def finish_reason(self) -> str:
        """Why it ended."""
        return self.samples[0].finish_reason

    @property
    def logprobs(self) -> Sequence[decoder_pb2.TokenLogprobs]:
        """Log-probabilities of its tokens, if they were asked for."""
        return self.samples[0].logprobs


class Collector:
    """Takes an answer's events, as ``OmniService.Chat`` orders them, up to the last."""

    def __init__(self) -> None:
        self._started = gateway_pb2.ChatStarted()
        self._tokens: list[gateway_pb2.ChatToken] = []
        self._skipped: list[gateway_pb2.ItemSkipped] = []
        self._finished = gateway_pb2.ChatFinished()

    def add(self, event: gateway_pb2.ChatResponse) -> None:
        """Takes the next event. Events that this version does not know are passed over."""
        match event.WhichOneof("event"):
            case "started":
                self._started = event.started
            case "token":
                self._tokens.append(event.token)
            case "item_skipped":
                self._skipped.append(event.item_skipped)
            case "finished":
                self._finished = event.finished

    def answer(self) -> Answer:
        """The whole; after the last event."""
        finished = self._finished
        return Answer(
            request_id=self._started.request_id,
            model=self._started.model,
            samples=[self._sample(index, done.reason) for index, done in enumerate(finished.samples)]
            or [self._sample(0, finished.reason)],
            usage=finished.usage,
            receipt=finished.receipt,
            skipped=self._skipped,
        )

    def _sample(self, index: int, reason: decoder_pb2.FinishReason) -> Sample:
        tokens = [token for token in self._tokens if token.sample == index]
        return Sample(
            text="".join(token.text for token in tokens),
            finish_reason=_name(reason),
            token_ids=[token_id for token in tokens for token_id in token.token_ids],
            logprobs=[logprobs for token in tokens for logprobs in token.logprobs],
        )


def _name(reason: decoder_pb2.FinishReason) -> str:
    """A reason in words; those that are newer than this client are ``unspecified``."""
    known = reason if reason in decoder_pb2.FinishReason.values() else decoder_pb2.FINISH_REASON_UNSPECIFIED
    return decoder_pb2.FinishReason.Name(known).removeprefix("FINISH_REASON_").lower()
