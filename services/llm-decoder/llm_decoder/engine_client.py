"""The decode engine as the front sees it: the wire of Triton's decoupled model ``llama``.

Knows token ids only; knows nothing of text.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from llm_decoder.media_rows import MediaRows
from llm_decoder.prompt import PromptTokens
from llm_decoder.sampling_limits import SAMPLING_PARAMETERS, Sampling
from trichord.tensors import Array
from trichord.triton.client import Parameter, TritonClient

MODEL = "llama"


class EngineTimings(NamedTuple):
    """Where a sequence's time went, as the engine saw it, in milliseconds, and what it met; ``request.Timings``."""

    queue_ms: float
    prefill_ms: float
    first_token_ms: float
    decode_ms: float
    num_cached_tokens: float
    num_preemptions: float


class EngineOutput(NamedTuple):
    """Some more tokens of one sequence."""

    token_ids: list[int]
    """In order; the token that ended the turn, if one did, is the last."""
    finish: int | None
    """decoder.proto's FinishReason in the last output of a sequence, else None."""
    timings: EngineTimings | None
    """With the first token, and in the last output."""


class EngineClient:
    """Calls the engine."""

    def __init__(self, triton: TritonClient, stop_ids: Sequence[int]) -> None:
        self._triton = triton
        self._stop_token_ids = ",".join(map(str, stop_ids))

    async def is_ready(self) -> bool:
        """Whether the model is loaded."""
        return await self._triton.model_ready(MODEL)

    async def generate(
        self, prompt: PromptTokens, media: MediaRows | None, sampling: Sampling, *, timeout_s: float
    ) -> AsyncGenerator[EngineOutput, None]:
        """Generates until an output has ``finish``. Closing the iterator frees the sequence.

        ``media`` has as many rows as the prompt's spans are long. Raises OverloadedError, UnavailableError,
        DeadlineError or InternalError.
        """
        inputs, parameters = _inputs(prompt, media), self._parameters(prompt, media, sampling)
        stream = self._triton.stream(MODEL, inputs, parameters, timeout_s=timeout_s)
        async with contextlib.aclosing(stream) as responses:
            async for response in responses:
                yield _output(response)

    def _parameters(self, prompt: PromptTokens, media: MediaRows | None, sampling: Sampling) -> dict[str, Parameter]:
        chosen = {name: getattr(sampling, name) for name in SAMPLING_PARAMETERS}
        identities = ",".join(_identities(prompt, media)) if media else ""
        return {**chosen, "stop_token_ids": self._stop_token_ids, "media": identities}


def _inputs(prompt: PromptTokens, media: MediaRows | None) -> dict[str, Array]:
    if media is None:
        return {"INPUT_IDS": prompt.ids}
    spans = np.array([(span.start, span.length) for span in prompt.spans], dtype=np.int32)
    return {"INPUT_IDS": prompt.ids, "EMBEDDINGS": media.rows, "SPANS": spans}


def _identities(prompt: PromptTokens, media: MediaRows) -> Iterator[str]:
    """What the rows of each span are: which embedding, and from which of its rows on."""
    offsets = [0] * len(media.identities)
    for span in prompt.spans:
        yield f"{media.identities[span.embedding]}+{offsets[span.embedding]}"
        offsets[span.embedding] += span.length


def _output(response: dict[str, Array]) -> EngineOutput:
    finish, timings = response.get("FINISH"), response.get("TIMINGS")
    return EngineOutput(
        token_ids=response["TOKEN_IDS"].tolist(),
        finish=None if finish is None else int(finish[0]),
        timings=None if timings is None else EngineTimings(*timings.tolist()),
    )
