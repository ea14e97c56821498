from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from bench import exports
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.stored import WEIGHTS_FILE

CONFIG = PRESETS["tiny"].model_copy(update={"dtype": "bfloat16"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny"
    init(CONFIG, directory, seed=0)
    return directory


@pytest.fixture(scope="module")
def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    stored = load_file(checkpoint / WEIGHTS_FILE)
    return {name.removeprefix("llm."): tensor for name, tensor in stored.items() if name.startswith("llm.")}


def test_transformers_loads_every_weight_as_it_is(checkpoint: Path, weights: dict[str, torch.Tensor], tmp_path: Path):
    model = AutoModelForCausalLM.from_pretrained(exports.hugging_face(checkpoint, tmp_path / "model"))
    assert isinstance(model, LlamaForCausalLM)
    assert model.state_dict().keys() == weights.keys()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert model.config.rope_parameters["rope_theta"] == CONFIG.llm.rope_theta


def test_gguf_holds_every_weight_with_rotary_pairs_side_by_side(
    checkpoint: Path, weights: dict[str, torch.Tensor], tmp_path: Path
):
    reader = gguf.GGUFReader(exports.gguf_file(checkpoint, tmp_path / "model.gguf"))
    values = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in reader.tensors}
    assert len(values) == len(weights)
    np.testing.assert_array_equal(values["output.weight"], weights["lm_head.weight"].float())
    np.testing.assert_array_equal(
        values["blk.1.ffn_down.weight"], weights["model.layers.1.mlp.down_proj.weight"].float()
    )
    queries, half = weights["model.layers.1.self_attn.q_proj.weight"].float(), CONFIG.llm.head_dim // 2
    # Row 2 i of a head is its channel i, row 2 i + 1 the channel that turns with it.
    np.testing.assert_array_equal(values["blk.1.attn_q.weight"][2:4], queries[[1, 1 + half]])


def test_gguf_describes_the_model(checkpoint: Path, tmp_path: Path):
    fields = gguf.GGUFReader(exports.gguf_file(checkpoint, tmp_path / "model.gguf")).fields
    assert fields["llama.attention.head_count_kv"].contents() == CONFIG.llm.num_key_value_heads
    assert fields["llama.rope.freq_base"].contents() == CONFIG.llm.rope_theta
    assert fields["llama.vocab_size"].contents() == CONFIG.llm.vocab_size
