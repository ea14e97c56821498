"""Our engine, in this process: what Triton's Python backend runs, without Triton.

Arguments: settings of ``ModelSettings`` and ``EngineSettings`` as ``name=value``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

import trichord
from bench.peers.worker import claim_stdout, serve
from llm_decoder.engine import Engine
from llm_decoder.loading import EngineSettings, load_engine
from llm_decoder.request import Finish, Request
from llm_decoder.sampling_limits import check
from llm_decoder.timings import Timings
from trichord.errors import TrichordError
from trichord.settings import ModelSettings
from trichord.v1 import decoder_pb2

TIMEOUT_S = 600.0


class Stream:
    """A sink that keeps what comes, and when."""

    def __init__(self) -> None:
        self.started_s = time.monotonic()
        self.ids: list[int] = []
        self.times_s: list[float] = []
        self.logprobs: list[Mapping[int, float]] = []
        self.over = threading.Event()
        self.error: TrichordError | None = None

    def start(self, timings: Timings) -> None:
        """See ``request.Sink``."""

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        """See ``request.Sink``."""
        self.ids += token_ids
        self.times_s += [time.monotonic() - self.started_s] * len(token_ids)
        self.logprobs += logprobs

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        """See ``request.Sink``."""
        self.emit(token_ids, logprobs)
        self.over.set()

    def fail(self, error: TrichordError) -> None:
        """See ``request.Sink``."""
        self.error = error
        self.over.set()

    def is_cancelled(self) -> bool:
        """Somebody reads on."""
        return False

    def is_full(self) -> bool:
        """It takes everything."""
        return False

    def wait(self) -> None:
        """Waits for the last token. Raises what the engine failed with."""
        if not self.over.wait(TIMEOUT_S):
            raise TimeoutError("the engine does not answer")
        if self.error:
            raise self.error


class Bench:
    """Asks one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._config = engine, engine.runner.config

    def generate(
        self, prompts: list[dict[str, Any]], num_tokens: int, late_prompt: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Greedy answers to all prompts at once; seconds from the start until each token.

        A late prompt arrives when the first answer has a quarter of its tokens.
        """
        streams = [self._submit(prompt["ids"], num_tokens) for prompt in prompts]
        if late_prompt:
            while len(streams[0].ids) < num_tokens // 4 and not streams[0].over.is_set():
                time.sleep(0.001)
            self._submit(late_prompt["ids"], 1).wait()
        for stream in streams:
            stream.wait()
        return {"streams": [{"ids": stream.ids, "times_s": stream.times_s} for stream in streams]}

    def score(self, ids: list[int]) -> dict[str, Any]:
        """How likely each token of a text was after those before it, and which would have been chosen.

        Every token is decoded, as an answer's are: only the text's next token is ever allowed.
        """

        def text_goes_on(output_ids: Sequence[int]) -> torch.Tensor:
            allowed_V = torch.zeros(self._config.vocab_size, dtype=torch.bool)
            allowed_V[ids[len(output_ids) + 1]] = True
            return allowed_V

        stream = self._submit(ids[:1], len(ids) - 1, allowed_tokens=text_goes_on, logprobs=1)
        stream.wait()
        chosen = [logprobs[token] for token, logprobs in zip(ids[1:], stream.logprobs, strict=True)]
        greedy = [max(logprobs, key=logprobs.__getitem__) for logprobs in stream.logprobs]
        return {"logprobs": chosen, "greedy": greedy}

    def _submit(
        self,
        ids: list[int],
        num_tokens: int,
        *,
        allowed_tokens: Callable[[Sequence[int]], torch.Tensor] | None = None,
        logprobs: int | None = None,
    ) -> Stream:
        params = decoder_pb2.SamplingParams(max_tokens=num_tokens, ignore_eos=True, logprobs=logprobs)
        context_left = self._config.max_position_embeddings - len(ids)
        stream = Stream()
        request = Request(
            prompt_ids=ids,
            sampling=check(params, context_left, self._config.vocab_size),
            stop_token_ids=frozenset(),
            sink=stream,
            arrival_s=stream.started_s,
            allowed_tokens=allowed_tokens,
        )
        self._engine.submit(request)
        return stream


def main(settings: dict[str, str]) -> None:
    """Serves an engine of these settings."""
    answers = claim_stdout()
    told = ModelSettings.model_validate(
        {name: settings.pop(name) for name in ModelSettings.model_fields.keys() & settings}
    )
    torch.set_num_threads(told.threads)
    engine = load_engine(told, EngineSettings.model_validate(settings))
    bench = Bench(engine)
    serve(answers, f"trichord {trichord.__version__}", generate=bench.generate, score=bench.score)
    engine.close()


if __name__ == "__main__":
    main(dict(argument.split("=", 1) for argument in sys.argv[1:]))
