"""Feeds the same sequences in the same steps to a native step or to the torch module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.llama import Llama
from llm_decoder.native.packing import Format
from llm_decoder.native.step import NativeStep
from llm_decoder.step_input import Forward, StepInput
from tests.fakes import LLM, random_llama
from trichord.model_config import LlmConfig

CONFIG = LLM.model_copy(
    update={
        "hidden_size": 96,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 160,
        "max_position_embeddings": 1024,
    }
)
"""Three query heads to a key head, as in the preset smol; a vocabulary that is no multiple of 32."""
NUM_BLOCKS = 48

Schedule = Sequence[Mapping[int, int]]
"""For each step: how many further tokens of which sequences."""


def bf16_llama(config: LlmConfig = CONFIG) -> Llama:
    """Weights of a trained model's spread; norms that are not all one."""
    model = random_llama(config)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
        else:
            parameter.mul_(0.4)
    return model.bfloat16()


def in_float32(model: Llama) -> Llama:
    """The same weights, exactly."""
    copy = Llama(model.config).eval().requires_grad_(False)
    copy.load_state_dict({name: tensor.float() for name, tensor in model.state_dict().items()})
    return copy


def random_ids(*lengths: int) -> list[Tensor]:
    """Token ids of sequences of these lengths."""
    generator = torch.Generator().manual_seed(2)
    return [torch.randint(0, CONFIG.vocab_size, (length,), generator=generator) for length in lengths]


def used_cache(model: Llama, block_size: int = 16) -> KvCache:
    """A cache that is full of the worst that others might have left there."""
    cache = KvCache(model.config, NUM_BLOCKS, block_size, torch.bfloat16, "cpu")
    cache.keys.fill_(torch.nan)
    cache.values.fill_(torch.inf)
    return cache


def native(model: Llama, block_size: int = 16, weights: Format = "bf16", threads: int = 1) -> NativeStep:
    """A native step over a used cache of its own."""
    cache = used_cache(model, block_size)
    return NativeStep(model, cache.keys, cache.values, weights=weights, threads=threads)


def by_torch(model: Llama, block_size: int = 16) -> TorchForward:
    """The torch module over a cache of its type."""
    return TorchForward(model, KvCache(model.config, NUM_BLOCKS, block_size, model.dtype, "cpu"))


class Run:
    """Sequences on their way through one cache, in blocks that lie anywhere."""

    def __init__(self, model: Llama, forward: Forward, ids: Sequence[Tensor], block_size: int = 16) -> None:
        self._model, self._forward, self._ids, self._block_size = model, forward, ids, block_size
        free = torch.randperm(NUM_BLOCKS, generator=torch.Generator().manual_seed(3)).tolist()
        self._tables = [[free.pop() for _ in range(-(-len(one) // block_size))] for one in ids]
        self._num_computed = [0] * len(ids)

    def logits(self, schedule: Schedule) -> list[Tensor]:
        """Logits of every token of every sequence."""
        found: list[list[Tensor]] = [[] for _ in self._ids]
        for step in schedule:
            chunks = sorted(step.items(), key=lambda chunk: chunk[1] > 1)  # those with one token come first
            rows = self._forward(self.step_input(chunks)).clone().split([count for _, count in chunks])
            for (sequence, _), logits in zip(chunks, rows, strict=True):
                found[sequence].append(logits)
        return [torch.cat(rows) for rows in found]

    def step_input(self, chunks: Sequence[tuple[int, int]]) -> StepInput:
        """The next tokens of some sequences, so many of each, all with logits."""
        spans = [self._advance(*chunk) for chunk in chunks]
        tables = [self._tables[sequence] for sequence, _ in chunks]
        widest = max(map(len, tables))

        def int32(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.int32)

        return StepInput(
            x_ND=self._model.embed(torch.cat([self._ids[at][span.start : span.stop] for at, span in spans])),
            positions_N=int32([position for _, span in spans for position in span]),
            slots_N=int32([self._slot(at, position) for at, span in spans for position in span]),
            query_starts=int32([0, *(len(span) for _, span in spans)]).cumsum(0).int(),
            context_lens_B=int32([span.stop for _, span in spans]),
            block_tables_BM=int32([table + [0] * (widest - len(table)) for table in tables]),
            logit_rows_R=torch.arange(sum(len(span) for _, span in spans), dtype=torch.int32),
        )

    def _advance(self, sequence: int, num_tokens: int) -> tuple[int, range]:
        start = self._num_computed[sequence]
        self._num_computed[sequence] += num_tokens
        return sequence, range(start, start + num_tokens)

    def _slot(self, sequence: int, position: int) -> int:
        return self._tables[sequence][position // self._block_size] * self._block_size + position % self._block_size
