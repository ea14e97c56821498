"""One step of the model on the CPU, by itself: decode and prompt chunks, natively and by torch, against the floor.

No engine, no scheduler, no sampling: what is left when these cost nothing. Everybody computes the same step in turn,
round after round; figures are medians. The floor is the same kernels multiplying by the same weights and doing nothing
else. With ``--beside``, processes that compute without end want the same cores. Ends with one line ``BENCH {ratios}``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from bench.peers.linear_layers import NativeLayers
from bench.prompts import Prompts
from llm_decoder.kv_cache import KvCache, TorchForward
from llm_decoder.llama import Llama
from llm_decoder.native import packing
from llm_decoder.native.step import NativeStep
from llm_decoder.step_input import Forward, StepInput
from trichord.checkpoint.locate import directory_of
from trichord.checkpoint.weights import load_into
from trichord.home import home
from trichord.model_config import LlmConfig, ModelConfig

BATCHES, CHUNKS, CONTEXTS = (1, 8, 32), (128, 256), (128, 256)
ROUNDS = 15
REST_S = 0.02
"""Between two computations: torch's threads look for more work for some milliseconds, and would slow the next one."""
BLOCK_SIZE = 16
BLOCKS_PER_SEQUENCE = CONTEXTS[1] // BLOCK_SIZE
FORMATS: tuple[packing.Format, ...] = ("bf16", "int8")

BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    pass"
"""A process that computes for as long as its parent lives."""

Seconds = dict[tuple[str, str], list[float]]
"""By who and what: of each round."""


def new_cache(config: LlmConfig, dtype: torch.dtype) -> KvCache:
    """A cache of ``BATCHES[-1]`` sequences."""
    return KvCache(config, BATCHES[-1] * BLOCKS_PER_SEQUENCE, BLOCK_SIZE, dtype, "cpu")


def decode_step(model: Llama, batch: int) -> StepInput:
    """One token of each of so many sequences, whose contexts are spread evenly."""
    low, high = CONTEXTS
    lens = [low + (high - low) * (2 * i + 1) // (2 * batch) for i in range(batch)]
    return _step(model, [(length - 1, length) for length in lens])


def prompt_step(model: Llama, num_tokens: int) -> StepInput:
    """A prompt whose last token's logits are wanted."""
    return _step(model, [(0, num_tokens)])


def _step(model: Llama, spans: list[tuple[int, int]]) -> StepInput:
    positions = [position for start, stop in spans for position in range(start, stop)]
    tables = torch.arange(len(spans) * BLOCKS_PER_SEQUENCE, dtype=torch.int32).view(len(spans), -1)
    first_slots = [i * BLOCKS_PER_SEQUENCE * BLOCK_SIZE for i in range(len(spans))]
    slots = [first + p for first, (start, stop) in zip(first_slots, spans, strict=True) for p in range(start, stop)]
    ends = torch.tensor([0, *(stop - start for start, stop in spans)]).cumsum(0).int()
    lens = torch.tensor([stop for _, stop in spans], dtype=torch.int32)
    x_ND = model.embed(torch.arange(len(positions)) + 100)
    positions_N, slots_N = (torch.tensor(values, dtype=torch.int32) for values in (positions, slots))
    return StepInput(x_ND, positions_N, slots_N, ends, lens, tables, ends[1:] - 1)


def forwards(model: Llama, threads: int) -> dict[str, Forward]:
    """The ways to compute a step."""
    found: dict[str, Forward] = {"torch": TorchForward(model, new_cache(model.config, torch.bfloat16))}
    for weights in FORMATS:
        cache = new_cache(model.config, torch.bfloat16)
        found[weights] = NativeStep(model, cache.keys, cache.values, weights=weights, threads=threads)
    return found


def measure(model: Llama, contestants: Mapping[str, Forward], threads: int) -> Seconds:
    """Times everybody's steps and the floors, in turn, after a warm-up."""
    (home() / "bench").mkdir(parents=True, exist_ok=True)
    floors = {w: [NativeLayers(model, w, threads, fetches=fetches) for fetches in (False, True)] for w in FORMATS}
    steps = {f"decode {batch}": decode_step(model, batch) for batch in BATCHES}
    steps |= {f"prompt {num_tokens}": prompt_step(model, num_tokens) for num_tokens in CHUNKS}
    seconds: Seconds = defaultdict(list)
    for _ in range(1 + ROUNDS):
        for what, step in steps.items():
            for who, forward in contestants.items():
                seconds[who, what].append(_seconds(partial(forward, step)))
            for weights, layers in floors.items():
                if what.startswith("decode"):
                    floor = min(_seconds(partial(multiply, len(step.x_ND))) for multiply in layers)
                    seconds[f"{weights} floor", what].append(floor)
    return {key: measured[1:] for key, measured in seconds.items()}


@contextmanager
def busy(num_processes: int) -> Iterator[None]:
    """Processes that take all the time they get."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(num_processes)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _seconds(compute: Callable[[], object]) -> float:
    time.sleep(REST_S)
    started = time.perf_counter()
    compute()
    return time.perf_counter() - started


def quality(checkpoint: Path, model: Llama, contestants: Mapping[str, Forward]) -> dict[str, tuple[float, float]]:
    """Each one's logits against float32's on a passage: mean absolute difference, share of equal likeliest tokens."""
    ids = torch.tensor(Prompts(checkpoint).passage_ids(CONTEXTS[1]))
    exact = _load(checkpoint, torch.float32)
    expected = TorchForward(exact, new_cache(exact.config, torch.float32))(_passage_step(exact, ids))
    found = {}
    for who, forward in contestants.items():
        logits = forward(_passage_step(model, ids))
        same = (logits.argmax(dim=-1) == expected.argmax(dim=-1)).float().mean().item()
        found[who] = ((logits - expected).abs().mean().item(), same)
    return found


def _passage_step(model: Llama, ids: Tensor) -> StepInput:
    step = prompt_step(model, len(ids))
    return replace(step, x_ND=model.embed(ids), logit_rows_R=torch.arange(len(ids), dtype=torch.int32))


def bytes_read(model: Llama, who: str, batch: int) -> int:
    """Weights, and keys and values, that a decode step must read."""
    config = model.config
    num_weights = sum(weight.numel() for weight in model.state_dict().values())
    per_weight = {"bf16": 2.0, "int8": 1.0 + 2 / packing.GROUP}[who]
    positions = int(decode_step(model, batch).context_lens_B.sum())
    return int(num_weights * per_weight) + positions * KvCache.bytes_per_token(config, torch.bfloat16)


def matrix_flops(config: LlmConfig, num_tokens: int) -> int:
    """Of the layers' matrices; what attention and the output layer add is left out."""
    attended, cached = (n * config.head_dim for n in (config.num_attention_heads, config.num_key_value_heads))
    layer = config.hidden_size * (2 * attended + 2 * cached + 3 * config.intermediate_size)
    return 2 * num_tokens * config.num_hidden_layers * layer


def ratios(seconds: Seconds, scores: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """What the step is held to: times torch, share of the floor; and what weights cost in quality."""
    found = {}
    for weights in FORMATS:
        for what in dict.fromkeys(what for _, what in seconds):
            found[f"{weights}_over_torch_{what}"] = _ratio(seconds["torch", what], seconds[weights, what])
        for batch in BATCHES:
            what = f"decode {batch}"
            found[f"{weights}_of_floor_{what}"] = _ratio(seconds[f"{weights} floor", what], seconds[weights, what])
    for who, (_, same) in scores.items():
        found[f"{who}_same_token"] = same
    return {name.replace(" ", "_"): round(ratio, 3) for name, ratio in found.items()}


def _ratio(times: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(time / other for time, other in zip(times, others, strict=True))


def print_table(model: Llama, seconds: Seconds, scores: Mapping[str, tuple[float, float]]) -> None:
    """One line for each figure."""
    for (who, what), times in sorted(seconds.items(), key=lambda item: item[0][::-1]):
        kind, size = what.split()
        median, line = statistics.median(times), f"{what:11} {who:11}"
        line += f"{median * 1e3:8.2f} ms ({min(times) * 1e3:.2f} to {max(times) * 1e3:.2f})"
        line += f"  {int(size) / median:7.0f} tokens/s"
        if kind == "prompt":
            line += f"  {matrix_flops(model.config, int(size)) / median / 1e12:.3f} TFLOP/s in the layers' matrices"
        elif who in FORMATS:
            line += f"  {bytes_read(model, who, int(size)) / median / 1e9:5.1f} GB/s"
        print(line)
    for who, (difference, same) in scores.items():
        print(f"logits      {who:11}{difference:8.3f} from float32 (mean), same likeliest token {same:.1%}")


@torch.inference_mode()
def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", default="demo", help="name or path; pull it first")
    parser.add_argument("--threads", type=int, default=2, help="of everybody, the caller's included")
    parser.add_argument("--beside", type=int, default=0, metavar="N", help="busy processes on the same cores")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    checkpoint = directory_of(options.checkpoint)
    model = _load(checkpoint, torch.bfloat16)
    contestants = forwards(model, options.threads)
    with busy(options.beside):
        seconds = measure(model, contestants, options.threads)
    scores = quality(checkpoint, model, contestants)
    print_table(model, seconds, scores)
    print("BENCH", json.dumps(ratios(seconds, scores)))


def _load(checkpoint: Path, dtype: torch.dtype) -> Llama:
    with torch.device("meta"):
        model = Llama(ModelConfig.read(checkpoint).llm)
    load_into(model, checkpoint, "llm.", dtype)
    return model.eval().requires_grad_(False)


if __name__ == "__main__":
    main()
