"""Digests of weights, and the fingerprint that ties an embedding to the encoder that made it.

A decoder accepts an embedding only if it knows its fingerprint; so the fingerprint changes with whatever changes an
embedding: the tower's weights, its architecture and preprocessing, the type it runs in. Knows no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from trichord.checkpoint.layout import PREFIXES, Tower
from trichord.checkpoint.progress import Advance, ignore
from trichord.checkpoint.stored import stored_tensors
from trichord.model_config import Dtype, ModelConfig

EncoderTower = Literal["vision", "audio"]


def weight_digest(checkpoint: Path, prefix: str, advance: Advance = ignore) -> str:
    """Hex SHA-256 over the sorted names, types, shapes and bytes of the tensors under ``prefix``.

    Reads a few MiB at a time. Raises CheckpointError if the files are broken.
    """
    sha256 = hashlib.sha256()
    for name, tensor in sorted(stored_tensors(checkpoint, prefix).items()):
        sha256.update(_canonical([name, tensor.dtype, tensor.shape]))
        for chunk in tensor.chunks():
            sha256.update(chunk)
            advance(len(chunk))
    return sha256.hexdigest()


def fingerprint(checkpoint: Path, tower: EncoderTower, dtype: Dtype) -> str:
    """The fingerprint of a tower that runs in ``dtype``. Raises CheckpointError if the checkpoint is broken."""
    return fingerprint_of(ModelConfig.read(checkpoint), tower, weight_digest(checkpoint, PREFIXES[tower]), dtype)


def fingerprint_of(config: ModelConfig, tower: EncoderTower, digest: str, dtype: Dtype) -> str:
    """The fingerprint of a tower whose weights have that digest."""
    sections = {"vision": (config.vision, config.resampler, config.slicing), "audio": (config.audio,)}[tower]
    settings = [section.model_dump() for section in sections]
    return _sha256({"tower": tower, "weights": digest, "settings": settings, "dtype": dtype})


def combined_digest(digests: Mapping[Tower, str]) -> str:
    """Digest of a whole checkpoint, from its towers'."""
    return _sha256(dict(digests))


def _sha256(value: Any) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
