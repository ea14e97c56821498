"""The published setting of Megrez-3B-Omni on one GPU, against what the GPU could do and against transformers.

The authors' README measures 100 equal requests: a 720x1480 image (448 tokens) in a prompt of 624 tokens, 128 tokens
out, 8 sequences at once, greedy, repetition penalty 1.2, nothing cached. Here: random weights made on the device, no
files; the encoder and the engine of the services, without Triton and fronts; images as tiles, as the fronts send them.
Then with every image encoded before, and with 32 and 128 sequences. ``--dry-run`` goes the same way in seconds with
preset tiny on the CPU; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from bench.gpu_limits import Machine, Work, decode_bytes, measure, output_tokens_per_s
from bench.gpu_models import random_llama, random_vision, transformers_tokens_per_s
from bench.gpu_serving import Setting, decode_step_s, serving
from bench.streams import gaps, percentile
from trichord.checkpoint.presets import PRESETS
from trichord.logs import configure
from trichord.media.slicing import plan_slices
from trichord.model_config import ModelConfig

IMAGE_SIZE = (720, 1480)
TEXT_TOKENS = 176  # 624 of the README less 448 of the image

console = Console(stderr=True, soft_wrap=True)


class Plan(NamedTuple):
    """How much is asked, and where."""

    preset: str
    device: torch.device
    dtype: torch.dtype
    num_requests: int
    output_tokens: int
    sequences: Sequence[int]
    step_tokens: int


FULL = Plan("megrez-3b-omni", torch.device("cuda"), torch.bfloat16, 100, 128, (8, 32, 128), 8192)
DRY = Plan("tiny", torch.device("cpu"), torch.float32, 6, 8, (2, 4), 512)


class Result(NamedTuple):
    """One run beside what bounds it."""

    sequences: int
    encoded: bool
    tokens_per_s: float
    bound_tokens_per_s: float
    gap_p50_ms: float
    step_ms: float
    step_bound_ms: float
    transformers_tokens_per_s: float | None


def setting_of(plan: Plan, config: ModelConfig) -> Setting:
    """What every request asks for."""
    image = plan_slices(*IMAGE_SIZE, config.slicing, config.vision.patch_size)
    return Setting(
        tiles=image.tile_shapes,
        image_tokens=image.num_tokens(config.resampler.num_queries),
        text_tokens=TEXT_TOKENS,
        output_tokens=plan.output_tokens,
        num_requests=plan.num_requests,
        step_tokens=plan.step_tokens,
    )


def run(plan: Plan, machine: Machine) -> Iterator[Result]:
    """Every number of sequences, with images encoded on the way and before."""
    config = PRESETS[plan.preset]
    setting = setting_of(plan, config)
    llama = random_llama(config.llm, plan.dtype, plan.device)
    vision = random_vision(config, plan.dtype, plan.device)
    for sequences in plan.sequences:
        context = setting.prompt_tokens + plan.output_tokens // 2
        step_s = decode_step_s(llama, sequences, context)
        peer = transformers_tokens_per_s(
            config.llm, plan.dtype, plan.device, sequences, setting.prompt_tokens, plan.output_tokens
        )
        for encoded in (False, True):
            with serving(setting, llama, vision, sequences) as served:
                took_s, times = served.run(encoded=encoded)
            tiles = () if encoded else setting.tiles
            work = Work(plan.num_requests, setting.prompt_tokens, plan.output_tokens, sequences, tiles)
            read = decode_bytes(config.llm, sequences, context, plan.dtype.itemsize)
            yield Result(
                sequences=sequences,
                encoded=encoded,
                tokens_per_s=plan.num_requests * plan.output_tokens / took_s,
                bound_tokens_per_s=output_tokens_per_s(machine, config, work, plan.dtype.itemsize),
                gap_p50_ms=percentile(gaps(times), 50) * 1e3,
                step_ms=step_s * 1e3,
                step_bound_ms=read / machine.bytes_per_s * 1e3,
                transformers_tokens_per_s=peer if encoded else None,  # it is handed the rows
            )


def show(plan: Plan, machine: Machine, results: Sequence[Result]) -> None:
    """The table, and the line of figures."""
    name = torch.cuda.get_device_name(plan.device) if plan.device.type == "cuda" else "CPU"
    note = "; a dry run: these figures mean nothing" if plan is DRY else ""
    columns = (
        "sequences",
        "images",
        "tokens/s",
        "bound",
        "of it",
        "gap ms",
        "step ms",
        "bound",
        "of it",
        "transformers",
    )
    table = Table(*columns, box=None)
    for r in results:
        table.add_row(
            str(r.sequences),
            "known" if r.encoded else "encoded",
            f"{r.tokens_per_s:.0f}",
            f"{r.bound_tokens_per_s:.0f}",
            f"{r.tokens_per_s / r.bound_tokens_per_s:.0%}",
            f"{r.gap_p50_ms:.2f}",
            f"{r.step_ms:.2f}",
            f"{r.step_bound_ms:.2f}",
            f"{r.step_bound_ms / r.step_ms:.0%}",
            f"{r.transformers_tokens_per_s:.0f}" if r.transformers_tokens_per_s else "-",
        )
    console.print(f"{name}, torch {torch.__version__}, preset {plan.preset}, {plan.num_requests} requests{note}")
    console.print(f"copies {machine.bytes_per_s / 1e12:.3f} TB/s, products {machine.flops_per_s / 1e12:.2f} TFLOP/s")
    Console().print(table)
    figures = {"device": name, "dry_run": plan is DRY, "machine": machine._asdict()}
    print("BENCH", json.dumps({**figures, "results": [result._asdict() for result in results]}))


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="preset tiny on the CPU, a few requests")
    plan = DRY if parser.parse_args().dry_run else FULL
    configure("gpu-reference", "info")
    if plan.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("There is no GPU here. --dry-run shows that the script works.")
    machine = measure(plan.device, plan.dtype)
    show(plan, machine, list(run(plan, machine)))


if __name__ == "__main__":
    main()
