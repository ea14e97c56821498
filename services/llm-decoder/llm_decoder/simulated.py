"""A decoder that only waits: the real engine, scheduler and block manager, and no weights, no keys, no values.

A step takes as long as its latency profile says, and costs a few microseconds of CPU for each token. A token depends on
its prompt, its place and, unless the request is greedy, its seed; so an answer is the same whatever else is in the
batch. Ends of turns come by chance; bans of them, and masks of constrained decoding, hold. Temperature, truncation,
penalties and bias change nothing, and log-probabilities are made up. Knows no Triton.
"""

from __future__ import annotations

import array
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from llm_decoder.babble import Babble
from llm_decoder.engine import Engine
from llm_decoder.loading import EngineSettings, new_scheduler
from llm_decoder.request import Request
from llm_decoder.sampler import Sampled, allowed_tokens
from llm_decoder.scheduler import Scheduled
from llm_decoder.vocabulary import Vocabulary
from trichord.model_config import LlmConfig, ModelConfig
from trichord.settings import ModelSettings
from trichord.simulation import profile
from trichord.simulation.latency import DecoderLatency, StepLoad


class SimulatedRunner:
    """Waits instead of computing."""

    def __init__(self, config: LlmConfig, latency: DecoderLatency, sleep: Callable[[float], None] = time.sleep) -> None:
        self.config, self._latency, self._sleep = config, latency, sleep

    def step(self, step: Sequence[Scheduled]) -> Tensor:
        """Waits; logits [B, 0], over no vocabulary at all: ``SimulatedSampler`` needs none."""
        self._sleep(self._latency.step_s(load_of(step)))
        return torch.empty((sum(scheduled.yields_token for scheduled in step), 0))


def load_of(step: Sequence[Scheduled]) -> StepLoad:
    """The work that a step is; a sequence with one new token counts as one that goes on."""
    num_prompt_tokens = num_prompt_pairs = num_sequences = num_context_tokens = 0
    for request, num_tokens in step:
        before = request.num_computed_tokens
        if num_tokens == 1:
            num_sequences += 1
            num_context_tokens += before + 1
        else:
            num_prompt_tokens += num_tokens
            num_prompt_pairs += num_tokens * before + num_tokens * (num_tokens + 1) // 2
    return StepLoad(num_prompt_tokens, num_prompt_pairs, num_sequences, num_context_tokens)


class SimulatedSampler:
    """Draws the tokens of seeded answers of random length."""

    def __init__(self, babble: Babble, mean_answer_tokens: float) -> None:
        self._babble = babble
        self._ends_below = int(2**64 / mean_answer_tokens)
        self._seeds: WeakKeyDictionary[Request, bytes] = WeakKeyDictionary()

    def sample(self, logits_BV: Tensor, requests: Sequence[Request]) -> list[Sampled]:
        """See ``Sampler.sample``; the logits are not looked at."""
        return [self._sampled(request) for request in requests]

    def _sampled(self, request: Request) -> Sampled:
        index = len(request.output_ids)
        token_id = self._choose(request, index)
        if request.sampling.logprobs is None:
            return Sampled(token_id, ())
        num_rivals = request.sampling.logprobs
        rivals = [rival for rival in self._babble.word_ids[: num_rivals + 1] if rival != token_id]
        return Sampled(token_id, [_made_up([token_id, *rivals[:num_rivals]])])

    def _choose(self, request: Request, index: int) -> int:
        draw, end = self._draws(request, index)
        if request.allowed_tokens is not None:
            allowed = allowed_tokens(request, 1).nonzero().flatten()
            return int(allowed[draw % len(allowed)])
        may_end = request.stop_token_ids and not request.sampling.ignore_eos and not request.bans_stop_tokens
        if may_end and index >= len(self._babble.opening_ids) and end < self._ends_below:
            return min(request.stop_token_ids)
        return self._babble.token_id(index, draw)

    def _draws(self, request: Request, index: int) -> tuple[int, int]:
        """Two numbers below 2 ** 64 that depend on the request's seed and ``index`` only."""
        if request not in self._seeds:
            self._seeds[request] = _seed(request)
        digest = hashlib.blake2b(index.to_bytes(4), key=self._seeds[request], digest_size=16).digest()
        return int.from_bytes(digest[:8]), int.from_bytes(digest[8:])


def _seed(request: Request) -> bytes:
    """What an answer depends on: tokens and media of the prompt and, unless it is greedy, the seed."""
    seed = request.sampling.seed if request.sampling.temperature > 0 else 0
    digest = hashlib.blake2b(array.array("q", [seed, *request.prompt_ids]).tobytes(), digest_size=16)
    for span in request.spans:
        digest.update(f"{span.start}:{span.identity};".encode())
    return digest.digest()


def _made_up(token_ids: Sequence[int]) -> Mapping[int, float]:
    """Log-probabilities of tokens, the likeliest first: a half, a quarter, ..."""
    return {token_id: -(rank + 1) * math.log(2) for rank, token_id in enumerate(token_ids)}


def load_engine(told: ModelSettings, settings: EngineSettings) -> Engine:
    """Starts a simulated engine on a checkpoint, of which only config and tokenizer are read.

    Raises CheckpointError or SettingsError.
    """
    config = ModelConfig.read(told.checkpoint)
    latency = profile.told(told)
    babble = Babble(Vocabulary.read(told.checkpoint, config.llm.vocab_size), config.llm.vocab_size)
    scheduler = new_scheduler(config.llm, getattr(torch, told.dtype or config.dtype), settings)
    sampler = SimulatedSampler(babble, latency.mean_answer_tokens)
    return Engine(SimulatedRunner(config.llm, latency.decoder), scheduler, sampler)
