"""What people want to know of a checkpoint: its size by part, digests, fingerprints.

Knows no torch, and nothing of how it is shown.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from trichord.checkpoint.digest import EncoderTower, combined_digest, fingerprint_of, weight_digest
from trichord.checkpoint.layout import PREFIXES, parameters_by_part, tensor_shapes
from trichord.checkpoint.progress import Advance, ignore
from trichord.model_config import Dtype, ModelConfig

_ENCODERS: tuple[EncoderTower, ...] = ("vision", "audio")


class Description(BaseModel):
    """A checkpoint, in figures."""

    model_config = ConfigDict(frozen=True)
    model: str
    note: str
    dtype: Dtype
    parameters: int
    parameters_by_part: dict[str, int]
    tensors: int
    directory: str | None = Field(default=None, description="Where it is; none of a preset that was not pulled.")
    digest: str | None = Field(default=None, description="Hex SHA-256 of all weights.")
    fingerprint: dict[EncoderTower, str] | None = Field(
        default=None, description="Of each encoder when it runs in ``dtype``; what a decoder is told to accept."
    )


def describe_config(config: ModelConfig) -> Description:
    """What the config alone tells."""
    shapes = tensor_shapes(config)
    parts = parameters_by_part(shapes)
    return Description(
        model=config.model,
        note=config.note,
        dtype=config.dtype,
        parameters=sum(parts.values()),
        parameters_by_part=parts,
        tensors=len(shapes),
    )


def describe_checkpoint(checkpoint: Path, advance: Advance = ignore) -> Description:
    """What config and weights tell; reads every weight. Raises CheckpointError if the checkpoint is broken."""
    config = ModelConfig.read(checkpoint)
    digests = {tower: weight_digest(checkpoint, prefix, advance) for tower, prefix in PREFIXES.items()}
    prints = {tower: fingerprint_of(config, tower, digests[tower], config.dtype) for tower in _ENCODERS}
    stored = {"directory": str(checkpoint), "digest": combined_digest(digests), "fingerprint": prints}
    return describe_config(config).model_copy(update=stored)
