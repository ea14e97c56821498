"""One answer as it grows: the engine's token ids in, chunks of text out, and why it ended.

Knows nothing of where tokens come from or where chunks go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from llm_decoder.detokenizer import Detokenizer
from llm_decoder.engine_client import EngineOutput
from llm_decoder.sampling_limits import Sampling
from llm_decoder.stop_strings import StopStrings
from llm_decoder.vocabulary import Vocabulary
from trichord.v1 import decoder_pb2


class Answer:
    """The state of one answer."""

    def __init__(self, vocabulary: Vocabulary, stop_ids: Collection[int], sampling: Sampling, sample: int) -> None:
        self._vocabulary, self._stop_ids, self._sample = vocabulary, stop_ids, sample
        self._num_likeliest = sampling.logprobs
        self._detokenizer = Detokenizer(vocabulary)
        self._stops = StopStrings(sampling.stop)
        self.num_tokens = 0
        """Tokens generated, the one that ended the turn included; none after a stop string."""
        self.reason: int | None = None
        """decoder.proto's FinishReason once the answer is over."""

    def take(self, output: EngineOutput) -> decoder_pb2.TokenChunk:
        """The chunk that the engine's next tokens complete; empty once the answer is over."""
        chunk = decoder_pb2.TokenChunk(sample=self._sample)
        if self.reason is not None:
            return chunk
        for index, token_id in enumerate(output.token_ids):
            self.num_tokens += 1
            if token_id not in self._stop_ids:
                chunk.token_ids.append(token_id)
                if output.logprobs:
                    chunk.logprobs.append(self._logprobs(output.logprobs[index]))
            chunk.text += self._push(self._detokenizer.push(token_id))
            if self.reason is not None:
                return chunk
        if output.finish is not None:
            chunk.text += self._push(self._detokenizer.flush()) + self._stops.flush()
            self.reason = self.reason or output.finish
        return chunk

    def _logprobs(self, logprobs: Mapping[int, float]) -> decoder_pb2.TokenLogprobs:
        tokens = [
            decoder_pb2.TokenLogprob(token_id=token_id, token=self._vocabulary.token_bytes(token_id), logprob=logprob)
            for token_id, logprob in logprobs.items()
        ]
        likeliest = sorted(tokens, key=lambda token: -token.logprob)[: self._num_likeliest]
        return decoder_pb2.TokenLogprobs(chosen=tokens[0], likeliest=likeliest)

    def _push(self, text: str) -> str:
        safe = self._stops.push(text)
        if self._stops.matched:
            self.reason = decoder_pb2.FINISH_REASON_STOP_STRING
        return safe
