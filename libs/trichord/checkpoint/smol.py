"""Makes the checkpoints ``smol`` and ``demo`` from the files of two Python packages.

SmolLM2-135M-Instruct comes as GGUF, Whisper tiny.en as CTranslate2. The vision tower and both connectors, which no
package has for this pair, are seeded; over all of it are laid the trained tensors, if there are any. Knows nothing of
where the files come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from trichord.checkpoint.ctranslate2_whisper import encoder_tensors
from trichord.checkpoint.gguf_llama import GgufLlama
from trichord.checkpoint.layout import Shape, tensor_shapes
from trichord.checkpoint.progress import Advance
from trichord.checkpoint.safetensors_file import DTYPES, STORED_AS, write
from trichord.checkpoint.seeded import seeded_values
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.checkpoint.trained import UNPACKAGED, Trained
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig
from trichord.tensors import Array

SEED = 0

EMBEDDING_STD = 0.1356
"""Spread of SmolLM2's token embeddings: rows of media get the same, or they would drown the text."""

_Real = Mapping[str, Callable[[], Array]]


def convert(
    config: ModelConfig, gguf_file: Path, ctranslate2_file: Path, trained: Trained, directory: Path, advance: Advance
) -> None:
    """Fills ``directory`` with the checkpoint; ``advance`` is told the bytes written. Raises CheckpointError."""
    llama = GgufLlama(gguf_file)
    encoder = encoder_tensors(ctranslate2_file)
    real = llama.tensors(config.llm) | {name: partial(np.asarray, value) for name, value in encoder.items()}
    shapes = tensor_shapes(config)
    if wrong := real.keys() ^ {name for name in shapes if not name.startswith(UNPACKAGED)}:
        message = f"The packages' files and the preset {config.model} differ in {min(wrong)}."
        raise CheckpointError(message, tensor=min(wrong))
    dtype = STORED_AS[config.dtype]
    tensors = {name: (dtype, shape) for name, shape in shapes.items()}
    write(directory / WEIGHTS_FILE, tensors, _stored(tensors, real, trained, advance))
    llama.tokenizer().save(str(directory / TOKENIZER_FILE))
    config.write(directory)


def _stored(
    tensors: Mapping[str, tuple[str, Shape]], real: _Real, trained: Trained, advance: Advance
) -> Iterator[Array]:
    for name, (dtype, shape) in tensors.items():
        # Changes are added to what is stored: training had no more than that.
        base = (values.astype(DTYPES[dtype]) for values in _untrained(name, shape, real))
        for values in trained.over(name, shape, base):
            stored = values.astype(DTYPES[dtype], copy=False)
            yield stored
            advance(stored.nbytes)


def _untrained(name: str, shape: Shape, real: _Real) -> Iterator[Array]:
    if name.startswith(UNPACKAGED):
        yield from seeded_values(name, shape, SEED, EMBEDDING_STD)
        return
    values = real[name]()
    if values.shape != shape:
        raise CheckpointError(f"{name} has shape {list(values.shape)}; it must have {list(shape)}.", tensor=name)
    yield values
