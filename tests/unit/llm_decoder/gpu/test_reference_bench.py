"""The GPU's bench: its bounds against the published arithmetic, and the whole of it in a dry run on the CPU."""

import json
import os
import subprocess
import sys

import pytest
import torch

from bench.gpu_limits import Machine, Work, decode_bytes, measure, output_tokens_per_s, prefill_flops, vision_flops
from bench.gpu_reference import FULL, setting_of
from trichord.checkpoint.presets import PRESETS

MEGREZ = PRESETS["megrez-3b-omni"]
SETTING = setting_of(FULL, MEGREZ)
# Datasheet rates (bytes/s, dense bf16 FLOP/s), and the bound that hand arithmetic gives for the README's setting.
MACHINES = {
    "H100 SXM": (3.35e12, 989e12, 3488),
    "H100 PCIe": (2.0e12, 756e12, 2213),
    "H200 SXM": (4.8e12, 989e12, 4475),
    "A100-80 SXM": (2.039e12, 312e12, 1697),
    "A100-40": (1.555e12, 312e12, 1436),
}


def test_the_setting_is_the_published_one():
    assert (SETTING.image_tokens, SETTING.prompt_tokens) == (448, 624)
    assert (SETTING.output_tokens, SETTING.num_requests) == (128, 100)
    assert sum(tile.height * tile.width for tile in SETTING.tiles) == 7006


def test_the_arithmetic_of_the_published_model():
    assert decode_bytes(MEGREZ.llm, 0, 0, 2) == pytest.approx(5.201e9, rel=1e-4)
    assert decode_bytes(MEGREZ.llm, 1, 1, 2) - decode_bytes(MEGREZ.llm, 1, 0, 2) == 81_920
    assert prefill_flops(MEGREZ.llm, 624) == pytest.approx(2.917e12, rel=1e-3)
    assert prefill_flops(MEGREZ.llm, 128) == pytest.approx(0.589e12, rel=1e-3)
    assert vision_flops(MEGREZ, SETTING.tiles) == pytest.approx(6.89e12, rel=1e-3)


@pytest.mark.parametrize("name", MACHINES)
def test_bounds_of_known_machines(name):
    bytes_per_s, flops_per_s, expected = MACHINES[name]
    work = Work(100, 624, 128, 8, SETTING.tiles)
    assert output_tokens_per_s(Machine(bytes_per_s, flops_per_s), MEGREZ, work, 2) == pytest.approx(expected, rel=1e-3)


def test_an_image_that_is_known_costs_nothing():
    machine = Machine(4.8e12, 989e12)
    encoded, known = (
        output_tokens_per_s(machine, MEGREZ, Work(100, 624, 128, 8, tiles), 2) for tiles in (SETTING.tiles, ())
    )
    assert known > 1.3 * encoded


def test_rates_are_measured():
    machine = measure(torch.device("cpu"), torch.float32)
    assert machine.bytes_per_s > 1e8
    assert machine.flops_per_s > 1e8


def test_a_dry_run_goes_all_the_way():
    command = [sys.executable, "-W", "error", "-m", "bench.gpu_reference", "--dry-run"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "mean nothing" in done.stderr
    name, figures = done.stdout.splitlines()[-1].split(maxsplit=1)
    results = json.loads(figures)
    assert name == "BENCH"
    assert results["dry_run"] is True
    assert [(r["sequences"], r["encoded"]) for r in results["results"]] == [
        (2, False),
        (2, True),
        (4, False),
        (4, True),
    ]
    assert all(r["tokens_per_s"] > 0 and r["step_ms"] > 0 for r in results["results"])
    assert all((r["transformers_tokens_per_s"] is not None) == r["encoded"] for r in results["results"])


def test_without_a_gpu_it_says_so():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, "-m", "bench.gpu_reference"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "no GPU" in done.stderr
