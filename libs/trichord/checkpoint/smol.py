"""Makes the checkpoint ``smol`` from the files of two Python packages.

SmolLM2-135M-Instruct comes as GGUF, Whisper tiny.en as CTranslate2; the vision tower and both connectors, which nobody
has trained for this pair, are seeded. Knows nothing of where the files come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from trichord.checkpoint.ctranslate2_whisper import encoder_tensors
from trichord.checkpoint.gguf_llama import GgufLlama
from trichord.checkpoint.layout import Shape, tensor_shapes
from trichord.checkpoint.presets import preset
from trichord.checkpoint.progress import Advance
from trichord.checkpoint.safetensors_file import DTYPES, STORED_AS, write
from trichord.checkpoint.seeded import seeded_values
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.errors import CheckpointError
from trichord.tensors import Array

SEED = 0
SEEDED = ("vision.", "audio.audio.proj.", "audio.audio.audio_bos_eos_token.")
"""Prefixes of the tensors that no package has."""

EMBEDDING_STD = 0.1356
"""Spread of SmolLM2's token embeddings: rows of media get the same, or they would drown the text."""


def convert(gguf_file: Path, ctranslate2_file: Path, directory: Path, advance: Advance) -> None:
    """Fills ``directory`` with the checkpoint; ``advance`` is told the bytes written. Raises CheckpointError."""
    config = preset("smol")
    llama = GgufLlama(gguf_file)
    encoder = encoder_tensors(ctranslate2_file)
    real = llama.tensors(config.llm) | {name: partial(np.asarray, value) for name, value in encoder.items()}
    dtype = STORED_AS[config.dtype]
    shapes = tensor_shapes(config)
    if wrong := real.keys() ^ {name for name in shapes if not name.startswith(SEEDED)}:
        raise CheckpointError(f"The packages' files and the preset smol differ in {min(wrong)}.", tensor=min(wrong))
    values = (chunk for name, shape in shapes.items() for chunk in _values(name, shape, real))
    tensors = {name: (dtype, shape) for name, shape in shapes.items()}
    write(directory / WEIGHTS_FILE, tensors, _stored(values, DTYPES[dtype], advance))
    llama.tokenizer().save(str(directory / TOKENIZER_FILE))
    config.write(directory)


def _values(name: str, shape: Shape, real: Mapping[str, Callable[[], Array]]) -> Iterator[Array]:
    if name.startswith(SEEDED):
        yield from seeded_values(name, shape, SEED, EMBEDDING_STD)
        return
    values = real[name]()
    if values.shape != shape:
        raise CheckpointError(f"{name} has shape {list(values.shape)}; it must have {list(shape)}.", tensor=name)
    yield values


def _stored(chunks: Iterable[Array], dtype: np.dtype[Any], advance: Advance) -> Iterator[Array]:
    for chunk in chunks:
        stored = chunk.astype(dtype)
        yield stored
        advance(stored.nbytes)
