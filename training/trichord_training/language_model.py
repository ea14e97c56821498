"""The language model as training runs it, with low-rank deltas on its attention (LoRA, arXiv 2106.09685).

Hugging Face's module, because it has a backward pass; that the decoder's own gives the same is for the tests. Its own
weights never change: what is learnt is the deltas. Knows no media.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from trichord.model_config import LlmConfig
from trichord_training.base import Base

RANK = 16
DELTA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")
PREFIX = "llm."


class DeltaLinear(nn.Module):
    """A frozen linear map, and a delta of low rank beside it that starts at zero."""

    def __init__(self, frozen: nn.Linear, rank: int) -> None:
        super().__init__()
        self.frozen = frozen
        self.lora_a = nn.Parameter(torch.randn(rank, frozen.in_features) * frozen.in_features**-0.5)
        self.lora_b = nn.Parameter(torch.zeros(frozen.out_features, rank))
        self.is_on = True

    def forward(self, states: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        mapped: Tensor = self.frozen(states)
        if not self.is_on:
            return mapped
        low = functional.linear(states, self.lora_a.to(states.dtype))
        return mapped + functional.linear(low, self.lora_b.to(states.dtype))


class LanguageModel(nn.Module):
    """Hidden states and scores of sequences of embeddings."""

    def __init__(self, config: LlmConfig, base: Base) -> None:
        super().__init__()
        self.llama = LlamaForCausalLM(LlamaConfig(**config.model_dump(), attn_implementation="sdpa"))
        tensors = base.tensors(PREFIX)
        tensors.setdefault("lm_head.weight", tensors["model.embed_tokens.weight"])
        self.llama.load_state_dict(tensors)
        for parameter in self.llama.requires_grad_(False).parameters():
            parameter.data = parameter.data.bfloat16()  # the buffers stay: float32 frequencies turn the positions
        self.deltas = dict(self._with_deltas())

    def _with_deltas(self) -> Iterator[tuple[str, DeltaLinear]]:
        for name, module in list(self.llama.named_modules()):
            parent, _, leaf = name.rpartition(".")
            if leaf in DELTA_MODULES:
                delta = DeltaLinear(module, RANK)
                setattr(self.llama.get_submodule(parent), leaf, delta)
                yield f"{PREFIX}{name}.weight", delta

    @contextmanager
    def untouched(self) -> Iterator[None]:
        """Within it the model is as it was before any training."""
        self._switch(False)
        try:
            yield
        finally:
            self._switch(True)

    def _switch(self, is_on: bool) -> None:
        for delta in self.deltas.values():
            delta.is_on = is_on

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings bfloat16 [..., D] of token ids."""
        return self.llama.model.embed_tokens(ids)  # type: ignore[no-any-return]

    def states(self, embeddings_BTD: Tensor, lengths: Tensor) -> Tensor:
        """Last hidden states [B, T, D] of sequences that are padded on the right."""
        mask = torch.arange(embeddings_BTD.shape[1], device=lengths.device) < lengths[:, None]
        out = self.llama.model(inputs_embeds=embeddings_BTD, attention_mask=mask.long(), use_cache=False)
        return out.last_hidden_state  # type: ignore[no-any-return]

    def scores(self, states: Tensor) -> Tensor:
        """Logits float32 [..., V]."""
        return self.llama.lm_head(states).float()  # type: ignore[no-any-return]

    def delta_tensors(self) -> dict[str, Tensor]:
        """The deltas under the names of the weights that they are added to."""
        return {
            f"{name}.{part}": getattr(delta, part).detach()
            for name, delta in self.deltas.items()
            for part in ("lora_a", "lora_b")
        }
