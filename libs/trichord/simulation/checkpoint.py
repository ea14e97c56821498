"""A checkpoint without weights: all that a simulated model needs of one.

Knows no torch.
"""

from __future__ import annotations

from pathlib import Path

from trichord.checkpoint.tokenizer import TOKENIZER_FILE, bytes_tokenizer, special_tokens
from trichord.model_config import ModelConfig


def write_weightless(config: ModelConfig, directory: Path) -> None:
    """Writes ``config.json``, and a tokenizer in which every byte is a token: texts take more tokens than real ones."""
    directory.mkdir(parents=True, exist_ok=True)
    config.write(directory)
    bytes_tokenizer(special_tokens(config.prompt)).save(str(directory / TOKENIZER_FILE))
