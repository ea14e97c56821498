"""Does a checkpoint hold exactly what its config asks for, and is it as it was made?

Compares names, shapes, special tokens and file digests; knows no torch.
"""

from __future__ import annotations

from pathlib import Path

from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.manifest import check_manifest
from trichord.checkpoint.progress import Advance, ignore
from trichord.checkpoint.stored import check_tensors, stored_tensors
from trichord.checkpoint.tokenizer import check_tokenizer
from trichord.model_config import ModelConfig


def verify(checkpoint: Path, advance: Advance = ignore) -> None:
    """Raises CheckpointError for the first thing that is wrong with a whole checkpoint.

    ``advance`` is told the bytes that were compared with the manifest.
    """
    config = ModelConfig.read(checkpoint)
    check_tensors(tensor_shapes(config), stored_tensors(checkpoint))
    check_tokenizer(checkpoint, config)
    check_manifest(checkpoint, advance)
