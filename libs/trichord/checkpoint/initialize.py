"""Writes a whole checkpoint of seeded random weights, a few MiB at a time.

Needs numpy only. Knows nothing of real weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from trichord.checkpoint.layout import Shape, tensor_shapes
from trichord.checkpoint.manifest import write_manifest
from trichord.checkpoint.progress import Advance, ignore
from trichord.checkpoint.safetensors_file import DTYPES, STORED_AS, num_bytes, write
from trichord.checkpoint.seeded import seeded_values
from trichord.checkpoint.staging import locked, staged
from trichord.checkpoint.stored import INDEX_FILE, WEIGHTS_FILE
from trichord.checkpoint.tokenizer import TOKENIZER_FILE, bytes_tokenizer, special_tokens
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig
from trichord.tensors import Array

MAX_SHARD_BYTES = 2 * 1000**3


def init(config: ModelConfig, directory: Path, seed: int, advance: Advance = ignore) -> None:
    """Makes ``directory`` a checkpoint of that config: see ``write_checkpoint``; it appears whole or not at all.

    Raises CheckpointError if the directory exists.
    """
    with locked(directory):
        if directory.exists():
            raise CheckpointError(f"{directory.name} exists already. Remove it first, or choose another name.")
        with staged(directory) as partial:
            write_checkpoint(config, partial, seed, advance)
            write_manifest(partial, f"seed {seed}")


def write_checkpoint(config: ModelConfig, directory: Path, seed: int, advance: Advance = ignore) -> None:
    """Fills ``directory`` with seeded weights, and a tokenizer of 256 bytes and the config's special tokens.

    ``advance`` is told the bytes written. Raises CheckpointError if the vocabulary is too small for these.
    """
    tokenizer = bytes_tokenizer(special_tokens(config.prompt))
    if tokenizer.get_vocab_size() > config.llm.vocab_size:
        raise CheckpointError(f"llm.vocab_size must be at least {tokenizer.get_vocab_size()}.")
    config.write(directory)
    tokenizer.save(str(directory / TOKENIZER_FILE))
    _write_shards(config, directory, seed, advance)


def _write_shards(config: ModelConfig, directory: Path, seed: int, advance: Advance) -> None:
    dtype = STORED_AS[config.dtype]
    shards = list(_shards(tensor_shapes(config), dtype))
    files = [f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = [WEIGHTS_FILE]
    for file, shapes in zip(files, shards, strict=True):
        tensors = {name: (dtype, shape) for name, shape in shapes.items()}
        write(directory / file, tensors, _values(shapes, dtype, seed, advance))
    if len(shards) > 1:
        weight_map = {name: file for file, shapes in zip(files, shards, strict=True) for name in shapes}
        (directory / INDEX_FILE).write_text(json.dumps({"weight_map": weight_map}, indent=2))


def _shards(shapes: Mapping[str, Shape], dtype: str) -> Iterator[dict[str, Shape]]:
    """The tensors in order, in groups of at most MAX_SHARD_BYTES (or of one tensor)."""
    shard: dict[str, Shape] = {}
    size = 0
    for name, shape in shapes.items():
        if shard and size + num_bytes(dtype, shape) > MAX_SHARD_BYTES:
            yield shard
            shard, size = {}, 0
        shard[name] = shape
        size += num_bytes(dtype, shape)
    yield shard


def _values(shapes: Mapping[str, Shape], dtype: str, seed: int, advance: Advance) -> Iterator[Array]:
    for name, shape in shapes.items():
        for values in seeded_values(name, shape, seed):
            chunk = values.astype(DTYPES[dtype])
            yield chunk
            advance(chunk.nbytes)
