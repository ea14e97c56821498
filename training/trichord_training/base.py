"""The checkpoint that training starts from: its tokenizer and its tensors. Knows no phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor

from trichord.checkpoint.locate import directory_of
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.errors import TrainingError

BASE = "smol"


@dataclass(frozen=True)
class Base:
    """A pulled checkpoint."""

    directory: Path
    tokenizer: Tokenizer

    @classmethod
    def open(cls, name: str = BASE) -> Base:
        """The checkpoint ``name``. Raises TrainingError if it was not pulled."""
        directory = directory_of(name)
        if not (directory / WEIGHTS_FILE).exists():
            raise TrainingError(f"There is no checkpoint {name}. Pull it: trichord checkpoint pull {name}")
        return cls(directory, Tokenizer.from_file(str(directory / TOKENIZER_FILE)))

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """The float32 tensors whose names begin with ``prefix``, without it."""
        with safe_open(self.directory / WEIGHTS_FILE, "pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
            return {name.removeprefix(prefix): file.get_tensor(name).float() for name in names}

    def embeddings(self, tokens: Sequence[int]) -> Tensor:
        """The embeddings float32 [tokens, hidden] of some tokens."""
        table = self.tensors("llm.model.embed_tokens.")["weight"]
        return table[torch.tensor(tokens)]
