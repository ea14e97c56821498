"""What a device could do at best: its measured rates, what the model's arithmetic asks of it, and the bound from both.

Counts follow arXiv 2502.15803, Table 1, and "Transformer Inference Arithmetic" (C. Chen, 2022): a product of [m, k] and
[k, n] takes 2 m k n operations, and a decode step reads every weight and every cached position once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from trichord.media.slicing import TileShape
from trichord.model_config import LlmConfig, ModelConfig


class Machine(NamedTuple):
    """A device's rates."""

    bytes_per_s: float
    """Of a copy, counting what is read and what is written."""
    flops_per_s: float
    """Of a square matrix product in the model's type."""


class Work(NamedTuple):
    """What one benchmark run asks of the machine."""

    num_requests: int
    prompt_tokens: int
    output_tokens: int
    num_sequences: int
    tiles: Sequence[TileShape]
    """Of each request's image; none if it is not encoded."""


def measure(device: torch.device, dtype: torch.dtype) -> Machine:
    """Copies and multiplies; on the CPU a little, on a GPU enough to run well past its caches."""
    on_gpu = device.type == "cuda"
    source = torch.ones(2 << 30 if on_gpu else 8 << 20, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy_s = seconds(lambda: target.copy_(source), device)
    side = 8192 if on_gpu else 256
    left, right = (torch.randn(side, side, dtype=dtype, device=device) for _ in range(2))
    product_s = seconds(lambda: left @ right, device)
    return Machine(bytes_per_s=2 * source.nbytes / copy_s, flops_per_s=2 * side**3 / product_s)


def seconds(work: Callable[[], object], device: torch.device, *, repeats: int = 10, warm_ups: int = 3) -> float:
    """Mean time of one run, once warm."""
    for _ in range(warm_ups):
        work()
    _synchronize(device)
    started = time.perf_counter()
    for _ in range(repeats):
        work()
    _synchronize(device)
    return (time.perf_counter() - started) / repeats


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def output_tokens_per_s(machine: Machine, config: ModelConfig, work: Work, itemsize: int) -> float:
    """The end-to-end bound: decode steps by bandwidth, prompts and images by arithmetic, one after the other.

    A request's first token comes with its prompt, so it takes one step less than it has tokens.
    """
    num_steps = work.num_requests / work.num_sequences * (work.output_tokens - 1)
    context = work.prompt_tokens + work.output_tokens / 2
    decode_s = num_steps * decode_bytes(config.llm, work.num_sequences, context, itemsize) / machine.bytes_per_s
    flops = prefill_flops(config.llm, work.prompt_tokens) + vision_flops(config, work.tiles)
    return work.num_requests * work.output_tokens / (decode_s + work.num_requests * flops / machine.flops_per_s)


def decode_bytes(llm: LlmConfig, num_sequences: int, context: float, itemsize: int) -> float:
    """Bytes that one decode step reads: the layers, the output layer and the keys and values of every sequence."""
    kv_values = 2 * llm.num_hidden_layers * llm.num_key_value_heads * llm.head_dim
    weights = layer_weights(llm) + llm.vocab_size * llm.hidden_size
    return float(itemsize * (weights + num_sequences * context * kv_values))


def prefill_flops(llm: LlmConfig, num_tokens: int) -> float:
    """Operations of a prompt: every layer for every token, causal attention, one row of logits."""
    attention = 2 * num_tokens**2 * llm.num_attention_heads * llm.head_dim * llm.num_hidden_layers
    return float(2 * layer_weights(llm) * num_tokens + attention + 2 * llm.vocab_size * llm.hidden_size)


def layer_weights(llm: LlmConfig) -> int:
    """Parameters of all layers and the last norm."""
    heads = 2 * llm.num_attention_heads + 2 * llm.num_key_value_heads
    layer = llm.hidden_size * (heads * llm.head_dim + 3 * llm.intermediate_size + 2)
    return llm.num_hidden_layers * layer + llm.hidden_size


def vision_flops(config: ModelConfig, tiles: Sequence[TileShape]) -> float:
    """Operations of the vision tower and the resampler over those tiles."""
    vision, width = config.vision, config.llm.hidden_size
    lengths = [tile.height * tile.width for tile in tiles]
    layer = 4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size
    patch = 3 * vision.patch_size**2 * vision.hidden_size
    tower = 2 * sum(lengths) * (vision.num_hidden_layers * layer + patch)
    attention = 4 * sum(length**2 for length in lengths) * vision.hidden_size * vision.num_hidden_layers
    queries = config.resampler.num_queries
    to_rows = 2 * sum(lengths) * (vision.hidden_size * width + 2 * width**2 + 2 * queries * width)
    return float(tower + attention + to_rows + 2 * len(tiles) * queries * 3 * width**2)
