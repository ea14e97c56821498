"""Our checkpoint's language model as the peers read it: a Hugging Face directory, and a GGUF file.

The same bf16 weights in other containers; nothing is rounded. Knows file formats; knows nothing of who reads them.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import numpy as np

from trichord.checkpoint import safetensors_file
from trichord.checkpoint.safetensors_file import StoredTensor
from trichord.checkpoint.stored import WEIGHTS_FILE, stored_tensors
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.model_config import LlmConfig, ModelConfig
from trichord.tensors import BFLOAT16, Array

PREFIX = "llm."
_OUTER = {"embed_tokens": "token_embd", "norm": "output_norm"}
_INNER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def hugging_face(checkpoint: Path, directory: Path) -> Path:
    """Writes ``directory``: a LlamaForCausalLM that transformers and vLLM load."""
    directory.mkdir(parents=True, exist_ok=True)
    config = ModelConfig.read(checkpoint)
    stored = stored_tensors(checkpoint, PREFIX)
    tensors = {name.removeprefix(PREFIX): (tensor.dtype, tensor.shape) for name, tensor in stored.items()}
    safetensors_file.write(directory / WEIGHTS_FILE, tensors, map(_values, stored.values()))
    shutil.copy(checkpoint / TOKENIZER_FILE, directory)
    described = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "torch_dtype": config.dtype,
        **config.llm.model_dump(),
    }
    (directory / "config.json").write_text(json.dumps(described, indent=2))
    return directory


def gguf_file(checkpoint: Path, path: Path) -> Path:
    """Writes ``path``: matrices in bf16, norms in float32, no tokenizer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    config = ModelConfig.read(checkpoint).llm
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, config)
    for name, tensor in stored_tensors(checkpoint, PREFIX).items():
        values = _values(tensor).reshape(tensor.shape)
        target = _gguf_name(name)
        if target.endswith(("attn_q.weight", "attn_k.weight")):
            values = _pairs_side_by_side(values, config.head_dim)
        if values.ndim == 1:
            writer.add_tensor(target, values.astype(np.float32))
        else:
            writer.add_tensor(target, values.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, config: LlmConfig) -> None:
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("none")  # it is handed token ids


def _values(tensor: StoredTensor) -> Array:
    values: Array = np.frombuffer(b"".join(tensor.chunks()), dtype=BFLOAT16)
    return values


def _gguf_name(name: str) -> str:
    """``llm.model.layers.3.self_attn.q_proj.weight`` -> ``blk.3.attn_q.weight``."""
    match name.split(".", 4):
        case ["llm", "model", "layers", layer, rest]:
            return f"blk.{layer}.{_INNER[rest.removesuffix('.weight')]}.weight"
        case ["llm", "lm_head", "weight"]:
            return "output.weight"
        case ["llm", "model", leaf, "weight"]:
            return f"{_OUTER[leaf]}.weight"
    raise ValueError(f"{name} is not a LLaMA's tensor")


def _pairs_side_by_side(rows: Array, head_dim: int) -> Array:
    """Query and key rows for interleaved rotary embeddings, from pairs half a head apart (arXiv 2104.09864, eq. 34)."""
    halves = rows.reshape(-1, 2, head_dim // 2, rows.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)
