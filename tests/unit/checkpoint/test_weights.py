"""Loading into torch modules: strict, mapped, converted, tied."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.weights import load_into
from trichord.errors import CheckpointError


class Towers(nn.Module):
    """A parameter, a buffer that is stored, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("table", torch.zeros(2, 2))
        self.register_buffer("computed", torch.full((1,), 7.0), persistent=False)


class Tied(nn.Module):
    """Two names for one table."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 3)
        self.head = nn.Linear(3, 4, bias=False)
        self.head.weight = self.embed.weight


TENSORS = {
    "a.linear.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 8,
    "a.linear.bias": np.asarray([1, -2], np.float32),
    "a.table": np.eye(2, dtype=np.float32),
}


def checkpoint(directory: Path, tensors: dict[str, np.ndarray]) -> Path:
    save_file(tensors, directory / WEIGHTS_FILE)
    return directory


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_parameters_and_buffers_are_replaced(tmp_path: Path, device: str) -> None:
    with torch.device(device):
        module = Towers()
    load_into(module, checkpoint(tmp_path, TENSORS | {"b.other": np.ones(1, np.float32)}), "a.", torch.float32)
    for name, values in TENSORS.items():
        np.testing.assert_array_equal(module.state_dict()[name.removeprefix("a.")].numpy(), values)
    assert isinstance(module.linear.weight, nn.Parameter)
    assert "table" in dict(module.named_buffers())
    assert module.computed.device.type == device


@pytest.mark.parametrize("stored", [np.float32, np.float16, "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_converted(tmp_path: Path, stored: str, dtype: torch.dtype) -> None:
    import ml_dtypes

    numpy_dtype = ml_dtypes.bfloat16 if stored == "bfloat16" else stored
    module = Towers()
    load_into(module, checkpoint(tmp_path, {n: v.astype(numpy_dtype) for n, v in TENSORS.items()}), "a.", dtype)
    for name, values in TENSORS.items():  # small multiples of 1/8: exact in every type
        tensor = module.state_dict()[name.removeprefix("a.")]
        assert tensor.dtype == dtype
        np.testing.assert_array_equal(tensor.float().numpy(), values)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", ["embed.weight", "head.weight"])
def test_tied_parameters_stay_one(tmp_path: Path, device: str, name: str) -> None:
    with torch.device(device):
        module = Tied()
    table = np.arange(12, dtype=np.float32).reshape(4, 3)
    load_into(module, checkpoint(tmp_path, {name: table}), "", torch.float32)
    assert module.head.weight is module.embed.weight
    np.testing.assert_array_equal(module.head.weight.detach().numpy(), table)


def test_tied_parameters_are_not_stored_twice(tmp_path: Path) -> None:
    table = np.zeros((4, 3), np.float32)
    with pytest.raises(CheckpointError) as caught:
        load_into(Tied(), checkpoint(tmp_path, {"embed.weight": table, "head.weight": table}), "", torch.float32)
    assert caught.value.tensor == "head.weight"


@pytest.mark.parametrize(
    ("tensors", "tensor"),
    [
        ({n: v for n, v in TENSORS.items() if n != "a.linear.bias"}, "a.linear.bias"),
        ({n: v for n, v in TENSORS.items() if n != "a.table"}, "a.table"),
        (TENSORS | {"a.extra": np.ones(1, np.float32)}, "a.extra"),
        (TENSORS | {"a.computed": np.ones(1, np.float32)}, "a.computed"),
        (TENSORS | {"a.linear.weight": TENSORS["a.linear.weight"].T.copy()}, "a.linear.weight"),
        ({"b.linear.weight": TENSORS["a.linear.weight"]}, "a.linear.bias"),
    ],
    ids=["missing", "buffer-missing", "extra", "not-stored", "mis-shaped", "other-prefix"],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    tmp_path: Path, tensors: dict[str, np.ndarray], tensor: str
) -> None:
    module = Towers()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(module, checkpoint(tmp_path, tensors), "a.", torch.float32)
    assert caught.value.tensor == tensor
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_writing_to_a_parameter_does_not_touch_the_file(tmp_path: Path) -> None:
    module = Towers()
    load_into(module, checkpoint(tmp_path, TENSORS), "a.", torch.float32)
    before = hashlib.sha256((tmp_path / WEIGHTS_FILE).read_bytes()).digest()
    with torch.no_grad():
        module.linear.weight += 1
    assert module.linear.weight[0, 0] == 1
    assert hashlib.sha256((tmp_path / WEIGHTS_FILE).read_bytes()).digest() == before


def test_an_independent_llama_runs_on_the_preset_tiny(pristine: Path) -> None:
    model = LlamaForCausalLM(LlamaConfig(**PRESETS["tiny"].llm.model_dump())).eval()
    load_into(model, pristine, "llm.", torch.float32)
    with torch.no_grad():
        logits = model(torch.arange(5)[None]).logits
    reference = {n: torch.from_numpy(v) for n, v in load_file(pristine / WEIGHTS_FILE).items() if n.startswith("llm.")}
    assert all(torch.equal(model.state_dict()[n.removeprefix("llm.")], value) for n, value in reference.items())
    assert torch.isfinite(logits).all()
    assert logits.std() > 0.1
