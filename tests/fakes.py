"""Stand-ins for tests: a sink that collects, models with random weights. Everything else in tests is real."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch

from llm_decoder.llama import Llama
from llm_decoder.request import Finish, Request
from llm_decoder.sampling_limits import Sampling
from llm_decoder.timings import Timings
from trichord.errors import TrichordError
from trichord.model_config import LlmConfig

LLM = LlmConfig(
    vocab_size=97,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
    rms_norm_eps=1e-5,
    rope_theta=10_000.0,
    max_position_embeddings=128,
    tie_word_embeddings=False,
)
"""A LLaMA small enough for thousands of steps a second."""


def random_llama(config: LlmConfig = LLM, seed: int = 0) -> Llama:
    """A LLaMA with seeded weights large enough that its greedy answers vary."""
    generator = torch.Generator().manual_seed(seed)
    model = Llama(config)
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    return model.eval().requires_grad_(False)


def sampling(**changes: object) -> Sampling:
    """Greedy sampling of at most 16 tokens, changed."""
    defaults = {
        "max_tokens": 16,
        "temperature": 0.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": 0,
        "min_tokens": 0,
        "ignore_eos": False,
    }
    return Sampling(**{**defaults, **changes})  # type: ignore[arg-type]


class CollectingSink:
    """Keeps what the engine delivers; ``cancel_after`` tokens it stops reading."""

    def __init__(self, cancel_after: int | None = None) -> None:
        self.token_ids: list[int] = []
        self.reason: Finish | None = None
        self.timings: Timings | None = None
        self.failure: str | None = None
        self.error: TrichordError | None = None
        self.cancel_after = cancel_after
        self.done = threading.Event()
        self.full = False
        self.started: Timings | None = None
        self.logprobs: list[Mapping[int, float]] = []

    def start(self, timings: Timings) -> None:
        self.started = timings

    def emit(self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]]) -> None:
        self.token_ids.extend(token_ids)
        self.logprobs.extend(logprobs)

    def finish(
        self, token_ids: Sequence[int], logprobs: Sequence[Mapping[int, float]], reason: Finish, timings: Timings
    ) -> None:
        self.emit(token_ids, logprobs)
        self.reason, self.timings = reason, timings
        self.done.set()

    def fail(self, error: TrichordError) -> None:
        self.error, self.failure = error, error.message
        self.done.set()

    def is_cancelled(self) -> bool:
        return self.cancel_after is not None and len(self.token_ids) >= self.cancel_after

    def is_full(self) -> bool:
        return self.full


def request(prompt_ids: Sequence[int], sink: CollectingSink | None = None, **changes: object) -> Request:
    """A request of the engine; ``changes`` are fields of its sampling, or ``stop_token_ids``."""
    stops = frozenset(changes.pop("stop_token_ids", ()))  # type: ignore[call-overload]
    return Request(prompt_ids, sampling(**changes), stops, sink or CollectingSink(), arrival_s=0.0)
