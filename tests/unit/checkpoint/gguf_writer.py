"""Writes a LLaMA of one narrow layer in GGUF, by the gguf package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS

LLM = PRESETS["tiny"].llm.model_copy(update={"num_hidden_layers": 1, "tie_word_embeddings": True})
NAMES = {
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_output": "o_proj",
    "ffn_gate": "gate_proj",
    "ffn_up": "up_proj",
    "ffn_down": "down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
TOKENS = ["a", "b", "ab", "1", "2", "12"]


def shapes() -> dict[str, tuple[int, ...]]:
    config = PRESETS["tiny"].model_copy(update={"llm": LLM})
    return {name: shape for name, shape in tensor_shapes(config).items() if name.startswith("llm.")}


def random_tensors() -> dict[str, np.ndarray]:
    """By GGUF's names, with our shapes."""
    generator = np.random.default_rng(0)
    ours = {name.split(".")[-2]: shape for name, shape in shapes().items()}
    layer = {f"blk.0.{theirs}.weight": ours[leaf] for theirs, leaf in NAMES.items()}
    outer = {"token_embd.weight": ours["embed_tokens"], "output_norm.weight": ours["norm"]}
    return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in (layer | outer).items()}


def write(path: Path, tensors: dict[str, np.ndarray], quantized: str = "", specials: Sequence[str] = ("<s>",)) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([*specials, *TOKENS])
    writer.add_token_types([gguf.TokenType.CONTROL] * len(specials) + [gguf.TokenType.NORMAL] * len(TOKENS))
    writer.add_token_merges(["a b", "1 2"])
    for name, tensor in tensors.items():
        if name == quantized:
            blocks = gguf.quants.quantize(tensor, gguf.GGMLQuantizationType.Q4_1)
            writer.add_tensor(name, blocks, raw_dtype=gguf.GGMLQuantizationType.Q4_1)
        else:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
