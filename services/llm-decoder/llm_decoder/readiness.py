"""Whether the decoder can serve: its model is loaded, and has generated a token.

Knows nothing of health services.
"""

from __future__ import annotations

import contextlib
from functools import partial

from llm_decoder.conversation import Message
from llm_decoder.engine_client import EngineClient
from llm_decoder.intake import Work
from llm_decoder.prompt import PromptTemplate
from llm_decoder.sampling_limits import check
from trichord.errors import UnavailableError
from trichord.readiness import Readiness
from trichord.v1 import decoder_pb2

FIRST_TOKEN_TIMEOUT_S = 30.0
"""For the first step of a large model; then it is tried again."""


def readiness(engine: EngineClient, template: PromptTemplate) -> Readiness:
    """The probe of one decoder."""
    sampling = check(decoder_pb2.SamplingParams(), context_left=1, vocab_size=1)
    work = Work(template.tokens([Message("user", ("Hello",))]), None, sampling)
    return Readiness(engine.is_ready, partial(_generate, engine, work))


async def _generate(engine: EngineClient, work: Work) -> None:
    """Raises what the engine raises, or UnavailableError if no token comes."""
    async with contextlib.aclosing(engine.generate(work, timeout_s=FIRST_TOKEN_TIMEOUT_S)) as outputs:
        if not any([output.token_ids async for output in outputs]):
            raise UnavailableError("The model generated nothing.")
