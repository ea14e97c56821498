"""Takes a checkpoint's safetensors and JSON files from the Hugging Face hub.

What was downloaded before is not downloaded again. Knows nothing of what the files mean.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from trichord.errors import CheckpointError

REPOSITORY_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

_WANTED = ("*.safetensors", "*.json")
_UNWANTED = ("config.json", "manifest.json")  # ours are written instead


def download(repository: str, directory: Path) -> str:
    """Puts the files at the top of a hub repository into ``directory``; returns ``org/name@commit``.

    Raises CheckpointError if the hub does not give them.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot = snapshot_download(repository, allow_patterns=list(_WANTED), ignore_patterns=list(_UNWANTED))
    except (OSError, ValueError) as error:  # the hub's own errors are of these, and so are those of its transport
        advice = "Check the name and the network; a gated repository wants HF_TOKEN."
        raise CheckpointError(f"The hub did not give {repository}. {advice}") from error
    take_files(Path(snapshot), directory)
    return f"{repository}@{Path(snapshot).name}"


def take_files(snapshot: Path, directory: Path) -> None:
    """Links the files at the top of ``snapshot`` into ``directory``; copies them if that is on another disk."""
    for path in (path for pattern in _WANTED for path in snapshot.glob(pattern)):
        try:
            os.link(path.resolve(), directory / path.name)
        except OSError:
            shutil.copyfile(path, directory / path.name)
