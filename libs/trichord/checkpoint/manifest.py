"""``manifest.json``: where a checkpoint came from, and the SHA-256 of each of its files.

Written when a checkpoint is made, compared by ``verify``. Knows nothing of what the files mean.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trichord.checkpoint.progress import Advance, ignore
from trichord.checkpoint.safetensors_file import CHUNK_BYTES
from trichord.errors import CheckpointError

MANIFEST_FILE = "manifest.json"
MAX_MANIFEST_BYTES = 1024 * 1024

_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,220}$")]


class Manifest(BaseModel):
    """Contents of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    source: str = Field(max_length=1000, description="What the checkpoint was made from, for people.")
    files: dict[_FileName, str] = Field(description="Hex SHA-256 of each file, by name.")


def file_sha256(path: Path, advance: Advance = ignore) -> str:
    """Hex SHA-256 of a file, read a few MiB at a time."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            sha256.update(chunk)
            advance(len(chunk))
    return sha256.hexdigest()


def num_bytes(directory: Path) -> int:
    """Size of all files of a checkpoint; 0 if it is not there."""
    return sum(path.stat().st_size for path in directory.glob("*"))


def write_manifest(directory: Path, source: str, advance: Advance = ignore) -> None:
    """Describes every file that is in ``directory``."""
    files = {path.name: file_sha256(path, advance) for path in sorted(directory.iterdir())}
    text = json.dumps({"source": source, "files": files}, indent=2)
    (directory / MANIFEST_FILE).write_text(text + "\n")


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a checkpoint that has one. Raises CheckpointError if it is malformed."""
    path = directory / MANIFEST_FILE
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise CheckpointError(f"{MANIFEST_FILE} is larger than {MAX_MANIFEST_BYTES} bytes.")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(f"{MANIFEST_FILE} is malformed. Pull the checkpoint again.") from error


def check_manifest(directory: Path, advance: Advance = ignore) -> None:
    """Raises CheckpointError naming a file that is missing or differs. A directory without manifest passes."""
    if not (directory / MANIFEST_FILE).exists():
        return
    for name, sha256 in read_manifest(directory).files.items():
        if not (directory / name).is_file():
            raise CheckpointError(f"{name} is missing. Pull the checkpoint again.")
        if file_sha256(directory / name, advance) != sha256:
            advice = f"Pull the checkpoint again or, if you changed the file, remove {MANIFEST_FILE}."
            raise CheckpointError(f"{name} is not as it was made. {advice}")
