"""What one request took so far, for its tenant's budgets: told again and again, so that a cancelled one pays its share.

Only what was computed for this request counts: a kept embedding costs no tiles and no seconds.
"""

from __future__ import annotations

import math

from gateway.admission.admission import Grant
from gateway.admission.cost import Cost
from gateway.encoding import Encoded
from trichord.telemetry import request_line
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2


class Meter:
    """Tells a grant."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant
        self.prompt_tokens = decoder_pb2.PromptTokens()
        """As the decoder counted them; none before it has."""
        self.cached_tokens = 0
        self._num_generated = 0

    @property
    def num_output_tokens(self) -> int:
        """Tokens generated so far."""
        return self._num_generated

    @property
    def has_begun(self) -> bool:
        """Whether the decoder has worked for the request."""
        return self.prompt_tokens.ByteSize() > 0 or self._num_generated > 0

    def encoded(self, encoded: Encoded) -> None:
        """A medium's embedding is there."""
        if encoded.source != gateway_pb2.EMBEDDING_SOURCE_ENCODED:
            return
        if encoded.embedding.modality == tensor_pb2.MODALITY_IMAGE:
            self._grant.add(Cost(tiles=encoded.num_units))
        else:
            self._grant.add(Cost(audio_ms=math.ceil(encoded.embedding.windows.seconds * 1000)))

    def prompt(self, prompt: decoder_pb2.PromptTokens) -> None:
        """The decoder counted the prompt."""
        self.prompt_tokens = prompt
        self._grant.add(Cost(tokens=prompt.text + prompt.image + prompt.audio))
        request_line.add(input_tokens=prompt.text + prompt.image + prompt.audio)

    def generated(self, chunk: decoder_pb2.TokenChunk) -> None:
        """Some tokens came."""
        self._grant.add(Cost(tokens=len(chunk.token_ids)))
        self._num_generated += len(chunk.token_ids)

    def finished(self, finished: decoder_pb2.GenerateFinished) -> None:
        """The decoder's own count, the tokens that ended turns included."""
        prompt = finished.prompt_tokens
        tokens = prompt.text + prompt.image + prompt.audio + finished.completion_tokens
        self._num_generated = finished.completion_tokens
        self.prompt_tokens, self.cached_tokens = prompt, finished.cached_tokens
        self._grant.settle(self._grant.actual._replace(tokens=tokens))

    def so_far(self) -> decoder_pb2.GenerateFinished:
        """The same as a decoder would have counted it whose answer ended here."""
        return decoder_pb2.GenerateFinished(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self._num_generated,
            cached_tokens=self.cached_tokens,
        )

    def ended(self) -> None:
        """Tells the log how much was generated, of an answer that broke off too."""
        request_line.add(output_tokens=self._num_generated)
