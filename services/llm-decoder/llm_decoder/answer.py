"""One answer as it grows: the engine's token ids in, chunks of text out, and why it ended.

Knows nothing of where tokens come from or where chunks go.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llm_decoder.detokenizer import Detokenizer
from llm_decoder.stop_strings import StopStrings
from llm_decoder.vocabulary import Vocabulary
from trichord.v1 import decoder_pb2


class Answer:
    """The state of one answer."""

    def __init__(self, vocabulary: Vocabulary, stop_ids: Collection[int], stops: Sequence[str]) -> None:
        self._stop_ids = stop_ids
        self._detokenizer = Detokenizer(vocabulary)
        self._stops = StopStrings(stops)
        self.num_tokens = 0
        """Tokens generated, the one that ended the turn included; none after a stop string."""
        self.reason: int | None = None
        """decoder.proto's FinishReason once the answer is over; nothing may be taken after that."""

    def take(self, token_ids: Sequence[int], finish: int | None) -> decoder_pb2.TokenChunk:
        """The chunk that these tokens complete; ``finish`` is the engine's reason if they are the last."""
        chunk = decoder_pb2.TokenChunk()
        for token_id in token_ids:
            self.num_tokens += 1
            if token_id not in self._stop_ids:
                chunk.token_ids.append(token_id)
            chunk.text += self._push(self._detokenizer.push(token_id))
            if self.reason is not None:
                return chunk
        if finish is not None:
            chunk.text += self._push(self._detokenizer.flush()) + self._stops.flush()
            self.reason = self.reason or finish
        return chunk

    def _push(self, text: str) -> str:
        safe = self._stops.push(text)
        if self._stops.matched:
            self.reason = decoder_pb2.FINISH_REASON_STOP_STRING
        return safe
