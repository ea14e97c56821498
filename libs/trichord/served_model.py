"""Which model a front serves, from its settings: config under the name that it answers to, and fingerprints.

The one place where fronts tell a real model from a simulated one. Knows no service.
"""

from __future__ import annotations

import structlog

from trichord.checkpoint import digest
from trichord.checkpoint.digest import EncoderTower
from trichord.errors import UnavailableError
from trichord.model_config import ModelConfig
from trichord.settings import FrontSettings
from trichord.simulation import identity
from trichord.simulation.rows import made_by
from trichord.tensors import NUMPY_DTYPES, Array

log = structlog.get_logger(__name__)


def served_config(settings: FrontSettings) -> ModelConfig:
    """The checkpoint's config; if the model is simulated, under another name. Raises CheckpointError."""
    config = ModelConfig.read(settings.checkpoint)
    if settings.backend == "simulated":
        config = identity.simulated(config)
        log.warning("this model is simulated: it waits, and what it answers means nothing", model=config.model)
    return config


def served_fingerprint(settings: FrontSettings, config: ModelConfig, tower: EncoderTower) -> str:
    """The fingerprint of embeddings that this model's encoder makes. Reads its weights, unless it is simulated.

    Raises CheckpointError if the checkpoint is broken.
    """
    dtype = settings.dtype or config.dtype
    if settings.backend == "simulated":
        return identity.fingerprint(config, tower, dtype)
    return digest.fingerprint(settings.checkpoint, tower, dtype)


def check_rows(rows: Array, shape: tuple[int, int], settings: FrontSettings, config: ModelConfig) -> Array:
    """The rows [tokens, hidden] that Triton answered with, known to be of the model that the fingerprint tells of.

    Raises UnavailableError if Triton was told of another checkpoint, type or backend than this front.
    """
    dtype = NUMPY_DTYPES[settings.dtype or config.dtype]
    if rows.shape != shape or rows.dtype != dtype or not made_by(settings.backend, rows):
        log.error("unexpected rows", shape=rows.shape, dtype=str(rows.dtype), expected=shape, expected_dtype=str(dtype))
        message = "The model server runs another checkpoint, type or backend than this front. Start both alike."
        raise UnavailableError(message)
    return rows
