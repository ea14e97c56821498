"""The tensors that a checkpoint directory stores: one ``*.safetensors`` file, or several with an index.

Knows the files' headers; what a model needs it is told, and values it does not read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trichord.checkpoint.layout import Shape, is_skipped
from trichord.checkpoint.safetensors_file import StoredTensor, read_header
from trichord.errors import CheckpointError

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_FILES = 1024

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def stored_tensors(checkpoint: Path, prefix: str = "") -> dict[str, StoredTensor]:
    """The tensors whose names start with ``prefix``, by name, without those that are not loaded anyway.

    Raises CheckpointError for files that are missing, broken or not safetensors, and for a tensor that an index puts
    where it is not.
    """
    index = checkpoint / INDEX_FILE
    tensors = _of_index(checkpoint, _read_index(index)) if index.exists() else read_header(_only_file(checkpoint))
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix) and not is_skipped(name)}


def check_tensors(expected: Mapping[str, Shape], stored: Mapping[str, StoredTensor]) -> None:
    """Raises CheckpointError naming the first tensor that is missing, extra or mis-shaped."""
    if missing := expected.keys() - stored.keys():
        raise CheckpointError(f"Tensor {min(missing)} is missing{_and_more(missing)}.", tensor=min(missing))
    if extra := stored.keys() - expected.keys():
        raise CheckpointError(f"Tensor {min(extra)} does not belong here{_and_more(extra)}.", tensor=min(extra))
    for name, shape in expected.items():
        if stored[name].shape != shape:
            is_, must = list(stored[name].shape), list(shape)
            raise CheckpointError(f"Tensor {name} has shape {is_}; it must have {must}.", tensor=name)


def _only_file(checkpoint: Path) -> Path:
    path = checkpoint / WEIGHTS_FILE
    if path.is_file():
        return path
    pickles = sorted(p.name for p in checkpoint.glob("*") if p.suffix in _PICKLES)
    if pickles:
        raise CheckpointError(f"{pickles[0]} is not safetensors. Convert it: files that can run code are not read.")
    raise CheckpointError(
        f"There is neither {WEIGHTS_FILE} nor {INDEX_FILE} in {checkpoint.name}. Pull or init it first."
    )


def _read_index(path: Path) -> dict[str, str]:
    if path.stat().st_size > MAX_INDEX_BYTES:
        raise CheckpointError(f"{INDEX_FILE} is larger than {MAX_INDEX_BYTES} bytes.")
    try:
        files: Any = json.loads(path.read_bytes())["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{INDEX_FILE} is not an index of safetensors files.") from error
    if not isinstance(files, dict):
        raise CheckpointError(f"{INDEX_FILE} is not an index of safetensors files.")
    for tensor, file in files.items():
        if not isinstance(file, str) or not _FILE_NAME.fullmatch(file):
            raise CheckpointError(f"{INDEX_FILE}: {tensor} is in a file whose name is not allowed.", tensor=tensor)
    return files


def _of_index(checkpoint: Path, file_of: dict[str, str]) -> dict[str, StoredTensor]:
    files = sorted(set(file_of.values()))
    if len(files) > MAX_FILES:
        raise CheckpointError(f"{INDEX_FILE} names more than {MAX_FILES} files.")
    for file in files:
        if not (checkpoint / file).is_file():
            raise CheckpointError(f"{file} is missing; {INDEX_FILE} names it.")
    found = [(file, name, tensor) for file in files for name, tensor in read_header(checkpoint / file).items()]
    for file, name, _ in found:
        if file_of.get(name) != file:
            raise CheckpointError(f"{file} holds {name}, which {INDEX_FILE} does not say.", tensor=name)
    if len(found) != len(file_of):
        missing = min(file_of.keys() - {name for _, name, _ in found})
        raise CheckpointError(f"{missing} is missing in {file_of[missing]}.", tensor=missing)
    return {name: tensor for _, name, tensor in found}


def _and_more(names: Iterable[str]) -> str:
    others = len(list(names)) - 1
    return f", and {others} more" if others else ""
