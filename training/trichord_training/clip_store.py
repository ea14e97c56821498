"""The recordings of a run: made before its first step, shuffled into batches of about one length.

Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from trichord_training.clips import CLIPS_PER_FILE, Clip, read_clips, record, write_clips
from trichord_training.splits import Split

_SORTED_AT_ONCE = 256


def make_clips(directory: Path, seed: int, split: Split, count: int) -> list[Clip]:
    """At least ``count`` clips of a set: those that ``directory`` has, and the missing ones made and kept there."""
    directory.mkdir(parents=True, exist_ok=True)
    files = [directory / f"{split}-{number:03d}.npz" for number in range(-(-count // CLIPS_PER_FILE))]
    for number, path in enumerate(track(files, f"{split} clips", console=Console(stderr=True))):
        if not path.exists():
            first = number * CLIPS_PER_FILE
            write_clips(path, [record(seed, split, index) for index in range(first, first + CLIPS_PER_FILE)])
    return [clip for path in files for clip in read_clips(path)]


def batch_of(lengths: Sequence[int], batch_size: int, step: int, seed: int) -> list[int]:
    """Indices of the clips of a step: every clip once in an epoch, neighbours in length together."""
    steps_an_epoch = len(lengths) // batch_size
    epoch, place = divmod(step, steps_an_epoch)
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    chunks = [order[first : first + _SORTED_AT_ONCE] for first in range(0, len(order), _SORTED_AT_ONCE)]
    by_length = np.concatenate([chunk[np.argsort(np.asarray(lengths)[chunk], kind="stable")] for chunk in chunks])
    which = int(rng.permutation(steps_an_epoch)[place])
    return [int(index) for index in by_length[which * batch_size : (which + 1) * batch_size]]
