"""Whether the decoder can serve: its model is loaded, and has generated a token once.

Knows nothing of health services; it is a ``trichord.server.Probe``.
"""

from __future__ import annotations

import contextlib

from llm_decoder.conversation import Message
from llm_decoder.engine_client import EngineClient
from llm_decoder.intake import Work
from llm_decoder.prompt import PromptTemplate
from llm_decoder.sampling_limits import check
from trichord.v1 import decoder_pb2

FIRST_TOKEN_TIMEOUT_S = 30.0
"""The first step of a model is its slowest: memory is touched and kernels are chosen. Then it is tried again."""


class Readiness:
    """The probe of one decoder."""

    def __init__(self, engine: EngineClient, template: PromptTemplate) -> None:
        self._engine = engine
        self._prompt = template.tokens([Message("user", ("Hello",))])
        self._has_generated = False

    async def __call__(self) -> bool:
        """Whether a request would be answered now. Raises what the engine raises."""
        if not await self._engine.is_ready():
            return False
        if not self._has_generated:
            await self._generate()
        return self._has_generated

    async def _generate(self) -> None:
        sampling = check(decoder_pb2.SamplingParams(), context_left=1, vocab_size=1)
        stream = self._engine.generate(Work(self._prompt, None, sampling), timeout_s=FIRST_TOKEN_TIMEOUT_S)
        async with contextlib.aclosing(stream) as outputs:
            async for output in outputs:
                self._has_generated |= bool(output.token_ids)
