"""The preset demo, really pulled: what is shipped is in it, over what training started from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from trichord.checkpoint import trained
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.manifest import read_manifest
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.trained import UNPACKAGED, Trained
from trichord.checkpoint.verify import verify

SHIPPED = trained.shipped("demo")
SHAPES = tensor_shapes(PRESETS["demo"])


def test_what_is_shipped_fits_and_has_all_that_no_package_has() -> None:
    read = Trained.read(SHIPPED, SHAPES)
    assert {name for name in SHAPES if name.startswith(UNPACKAGED)} <= read.whole.keys()


@pytest.mark.demo
def test_the_pulled_checkpoint_is_whole_and_says_what_it_was_trained_with(demo: Path) -> None:
    verify(demo)
    assert read_manifest(demo).source.endswith(f"trained {trained.sha256(SHIPPED)}")


@pytest.mark.demo
@pytest.mark.smol
def test_each_tensor_is_the_shipped_or_the_bases_with_what_is_shipped_added(demo: Path, smol: Path) -> None:
    shipped, base, made = load_file(SHIPPED), load_file(smol / WEIGHTS_FILE), load_file(demo / WEIGHTS_FILE)
    assert made.keys() == SHAPES.keys()
    for name, tensor in made.items():
        expected = shipped[name] if name in shipped else base[name]
        if f"{name}.lora_a" in shipped:
            down, up = shipped[f"{name}.lora_a"].float(), shipped[f"{name}.lora_b"].float()
            expected = (expected.float() + up @ down).to(torch.bfloat16)
        # The order of a sum may move its last bit.
        torch.testing.assert_close(tensor, expected, rtol=2**-7, atol=1e-7, msg=name)
