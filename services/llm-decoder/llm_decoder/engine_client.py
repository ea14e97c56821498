"""The decode engine as the front sees it: the wire of Triton's decoupled model ``llama``.

Knows token ids only; knows nothing of text.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import structlog
from opentelemetry.trace import INVALID_SPAN, Span

from llm_decoder.delivery import delivered
from llm_decoder.intake import Work
from llm_decoder.media_rows import MediaRows
from llm_decoder.prompt import PromptTokens
from llm_decoder.sampling_limits import SAMPLING_PARAMETERS
from llm_decoder.steering import Steering, Wishes
from llm_decoder.timings import Timings
from trichord.errors import TrichordError
from trichord.settings import Backend
from trichord.telemetry import spans
from trichord.tensors import Array
from trichord.triton.client import Parameter, TritonClient

log = structlog.get_logger(__name__)

MODEL = "llama"

STEER_TIMEOUT_S = 5.0
_NO_TOKENS: dict[str, Array] = {"INPUT_IDS": np.zeros(0, np.int32)}


class EngineOutput(NamedTuple):
    """Some more tokens of one sequence."""

    token_ids: list[int]
    """In order; the token that ended the turn, if one did, is the last."""
    finish: int | None
    """decoder.proto's FinishReason in the last output of a sequence, else None."""
    timings: Timings | None
    """With the first token, and in the last output."""
    sample: int = 0
    """Which of the answers drawn from one prompt."""
    logprobs: tuple[dict[int, float], ...] = ()
    """For each token, if asked for: the log-probabilities of the token (first) and of the likeliest."""


class EngineClient:
    """Calls the engine."""

    def __init__(self, triton: TritonClient, stop_ids: Sequence[int], backend: Backend = "torch") -> None:
        self._triton, self._backend = triton, backend
        self._stop_token_ids = ",".join(map(str, stop_ids))
        self._leaving: set[asyncio.Task[None]] = set()

    async def is_ready(self) -> bool:
        """Whether the model is loaded."""
        return await self._triton.model_ready(MODEL)

    async def generate(
        self,
        work: Work,
        *,
        timeout_s: float,
        is_over: Callable[[int], bool] = lambda sample: False,
        caller: Span = INVALID_SPAN,
    ) -> AsyncGenerator[EngineOutput, None]:
        """Generates until every sample has had an output with ``finish``. Closing the iterator frees the sequences.

        A sample that ``is_over``, asked after each of its outputs, gives its sequence back while the others go on; more
        of its outputs may be on their way. The engine is traced as a child of ``caller``. Raises OverloadedError,
        UnavailableError, DeadlineError or InternalError.
        """
        key = secrets.token_hex(16)
        parameters = {**self._parameters(work, timeout_s), **_context(caller), "key": key}
        stream = self._triton.stream(MODEL, _inputs(work), parameters, timeout_s=timeout_s)
        unfinished = set(range(work.sampling.num_samples))
        try:
            async with (
                Steering(partial(self._steer, key)) as steering,
                contextlib.aclosing(stream) as responses,
                contextlib.aclosing(delivered(responses, steering.rest, _num_tokens)) as read,
            ):
                async for response in read:
                    output = _output(response)
                    if output.finish is not None:
                        unfinished.discard(output.sample)
                    yield output
                    if output.sample in unfinished and is_over(output.sample):
                        steering.end(output.sample)
        except (GeneratorExit, asyncio.CancelledError):
            if unfinished:
                has_left = not all(is_over(sample) for sample in unfinished)
                self._leave(key, Wishes(ended_samples=frozenset(unfinished), has_left=has_left))
            raise

    def _leave(self, key: str, wishes: Wishes) -> None:
        """Tells the engine, beside everything else, that nobody reads on: Triton passes a cancellation on late."""

        async def leave() -> None:
            try:
                await self._steer(key, wishes)
            except TrichordError as error:
                log.warning("the engine was not told that a reader left", error=error.message)

        leaving = asyncio.create_task(leave(), name="leaving")
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _steer(self, key: str, wishes: Wishes) -> None:
        """Tells the engine what is wished of a request in progress."""
        ended_samples = json.dumps(sorted(wishes.ended_samples))
        parameters: dict[str, Parameter] = {**wishes._asdict(), "key": key, "ended_samples": ended_samples}
        stream = self._triton.stream(MODEL, _NO_TOKENS, parameters, timeout_s=STEER_TIMEOUT_S)
        async with contextlib.aclosing(stream) as responses:
            async for _ in responses:
                pass

    def _parameters(self, work: Work, timeout_s: float) -> dict[str, Parameter]:
        sampling = work.sampling
        return {
            **{name: getattr(sampling, name) for name in SAMPLING_PARAMETERS},
            "logit_bias": json.dumps(sampling.logit_bias),
            "logprobs": -1 if sampling.logprobs is None else sampling.logprobs,
            "stop_token_ids": self._stop_token_ids,
            "media": ",".join(_identities(work.prompt, work.media)) if work.media else "",
            "is_batch": work.is_batch,
            "cache_scope": work.cache_scope,
            "timeout_s": timeout_s,
            "backend": self._backend,
        }


def _context(caller: Span) -> dict[str, Parameter]:
    """Nothing if ``caller`` is not recorded: the engine then notes nothing either."""
    return dict(spans.outbound(caller)) if caller.is_recording() else {}


def _inputs(work: Work) -> dict[str, Array]:
    if work.media is None:
        return {"INPUT_IDS": work.prompt.ids}
    spans = np.array([(span.start, span.length) for span in work.prompt.spans], dtype=np.int32)
    return {"INPUT_IDS": work.prompt.ids, "EMBEDDINGS": work.media.rows, "SPANS": spans}


def _identities(prompt: PromptTokens, media: MediaRows) -> Iterator[str]:
    """What the rows of each span are: which embedding, and from which of its rows on."""
    offsets = [0] * len(media.identities)
    for span in prompt.spans:
        yield f"{media.identities[span.embedding]}+{offsets[span.embedding]}"
        offsets[span.embedding] += span.length


def _num_tokens(response: dict[str, Array]) -> int:
    return response["TOKEN_IDS"].size


def _output(response: dict[str, Array]) -> EngineOutput:
    finish, timings = response.get("FINISH"), response.get("TIMINGS")
    return EngineOutput(
        token_ids=response["TOKEN_IDS"].tolist(),
        finish=None if finish is None else int(finish[0]),
        timings=None if timings is None else Timings(*timings.tolist()),
        sample=int(response["SAMPLE"][0]) if "SAMPLE" in response else 0,
        logprobs=tuple(_logprobs(response)),
    )


def _logprobs(response: dict[str, Array]) -> Iterator[dict[int, float]]:
    if "LOGPROB_IDS" in response:
        for ids, values in zip(response["LOGPROB_IDS"].tolist(), response["LOGPROBS"].tolist(), strict=True):
            yield {token_id: value for token_id, value in zip(ids, values, strict=True) if token_id >= 0}
