"""Where Trichord keeps what it downloads and runs: ``$TRICHORD_HOME``, by default ``~/.cache/trichord``.

::

    checkpoints/<name>/    pulled or initialised checkpoints
    triton/<package>/      the embedded Triton server
    broker/<package>/      the queue of local clusters that take jobs
    native/<digest>.so     the decoder's native step, compiled on this machine
    run/<cluster>/         one local cluster: its state, logs and model repositories

Knows paths, not contents.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "TRICHORD_HOME"


def home() -> Path:
    """The directory that everything is kept under; it need not exist."""
    return Path(os.environ.get(VARIABLE) or "~/.cache/trichord").expanduser().absolute()


def checkpoints() -> Path:
    """The directory of checkpoints, one folder for each."""
    return home() / "checkpoints"
