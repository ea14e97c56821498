"""Reads a LLaMA from a GGUF file: its tensors under our names, and its tokenizer.

The format is ggml's (ggml-org/ggml, docs/gguf.md); the ``gguf`` package parses and dequantizes it. Knows nothing of the
other towers. The file is trusted: whoever passes it has checked its digest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
from tokenizers import Tokenizer

from trichord.checkpoint.tokenizer import byte_level_bpe
from trichord.errors import CheckpointError
from trichord.model_config import LlmConfig
from trichord.tensors import Array

_OUTER = {"token_embd": "embed_tokens", "output_norm": "norm"}
_INNER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


class GgufLlama:
    """A GGUF file, mapped. Raises CheckpointError if it is none."""

    def __init__(self, path: Path) -> None:
        try:
            self._reader = gguf.GGUFReader(path)
        except ValueError as error:
            raise CheckpointError(f"{path.name} is not a GGUF file.") from error

    def tensors(self, config: LlmConfig) -> dict[str, Callable[[], Array]]:
        """How to read each tensor, float32, by our name (``llm.model...``)."""
        return {_our_name(tensor.name): _reading(tensor, config) for tensor in self._reader.tensors}

    def tokenizer(self) -> Tokenizer:
        """The byte-level BPE of the file's metadata; its control tokens are special."""
        tokens: list[str] = self._field("tokens")
        types: list[int] = self._field("token_type")
        merges = [tuple(merge.split(" ")) for merge in self._field("merges")]
        control = gguf.TokenType.CONTROL
        specials = [token for token, kind in zip(tokens, types, strict=True) if kind == control]
        vocabulary = {token: number for number, token in enumerate(tokens)}
        return byte_level_bpe(vocabulary, merges, specials, split_digits=self._field("pre") == "smollm")

    def _field(self, name: str) -> Any:
        return self._reader.fields[f"tokenizer.ggml.{name}"].contents()


def _our_name(name: str) -> str:
    """``blk.3.attn_q.weight`` -> ``llm.model.layers.3.self_attn.q_proj.weight``."""
    match name.split("."):
        case ["blk", layer, leaf, "weight"]:
            return f"llm.model.layers.{layer}.{_INNER[leaf]}.weight"
        case [leaf, "weight"]:
            return f"llm.model.{_OUTER[leaf]}.weight"
    raise CheckpointError(f"{name} is not a LLaMA's tensor.", tensor=name)


def _reading(tensor: gguf.ReaderTensor, config: LlmConfig) -> Callable[[], Array]:
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    leaf = tensor.name.split(".")[-2]

    def read() -> Array:
        values: Array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        return _half_split(values, heads[leaf]) if leaf in heads else values

    return read


def _half_split(rows: Array, heads: int) -> Array:
    """Undoes GGUF's order of query and key rows: from pairs side by side to pairs half a head apart.

    GGUF stores rows for interleaved rotary embeddings (arXiv 2104.09864, equation 34); ours rotates halves.
    """
    in_pairs = rows.reshape(heads, -1, 2, rows.shape[1])  # [heads, head_dim / 2, 2, hidden]
    return in_pairs.swapaxes(1, 2).reshape(rows.shape)
