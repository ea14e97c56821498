"""Short windows on a GPU: padded to one of few shapes, with a recorded pass for each of these.

A short window is hundreds of small kernels, and to launch them one by one takes longer than to run them: a recorded
pass is launched as a whole. With long windows the device is the slower side, and padding would only cost. Past its end
a padded window is what a window alone is past its own, zero in the convolutions and unseen in attention; so its rows
are the same beyond rounding. Knows spectrograms, not samples.

Shapes: B windows of a bucket, M mel bands, T positions of a bucket, R rows, L the decoder's width.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from audio_encoder.tower import AudioTower
from trichord.cuda_graphs import Capture, at_least
from trichord.model_config import AudioConfig

WINDOWS = (1, 2, 4, 8, 16)
"""Windows that a pass is padded to."""
POSITIONS = (64, 128, 256, 512)
"""Positions that windows are padded to: 1.3, 2.6, 5.1 and 10.2 seconds."""
PASS_POSITIONS = 2048
"""Most positions of a pass: about 3 TFLOP of the published tower, by when the device is the slower side."""


class Bucket(NamedTuple):
    """The shape of a pass."""

    positions: int
    windows: int


class RecordedTower:
    """Records every bucket when it is made. One pass runs at a time."""

    @torch.inference_mode()
    def __init__(self, tower: AudioTower, config: AudioConfig, capture: Capture) -> None:
        self._positions = [positions for positions in POSITIONS if positions <= config.n_ctx]
        self.longest = max(self._positions, default=0)
        """Positions of the longest window that it takes."""
        buckets = [Bucket(*pair) for pair in product(self._positions, WINDOWS)]
        # The largest first: the small fit the large's memory.
        self._passes = {
            bucket: _Pass(bucket, tower, config, capture)
            for bucket in reversed(buckets)
            if bucket.positions * bucket.windows <= PASS_POSITIONS
        }

    @torch.inference_mode()
    def __call__(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """The rows [R, L] of each log-mel spectrogram [M, 2 * its positions], in order; none beyond ``longest``."""
        rows: dict[int, Tensor] = {}
        for bucket, members in self._buckets([_num_positions(mel) for mel in mels]):
            rows.update(zip(members, self._passes[bucket]([mels[index] for index in members]), strict=True))
        return [rows[index] for index in range(len(mels))]

    def _buckets(self, lengths: Sequence[int]) -> Iterator[tuple[Bucket, Sequence[int]]]:
        """Passes over windows of so many positions: the bucket and the indices of each."""
        alike = defaultdict(list)
        for index, length in enumerate(lengths):
            alike[at_least(length, self._positions)].append(index)
        for positions, indices in alike.items():
            most = min(WINDOWS[-1], PASS_POSITIONS // positions)
            for start in range(0, len(indices), most):
                members = indices[start : start + most]
                yield Bucket(positions, at_least(len(members), WINDOWS)), members


class _Pass:
    """One bucket's recorded pass, and the places that it reads and writes."""

    def __init__(self, bucket: Bucket, tower: AudioTower, config: AudioConfig, capture: Capture) -> None:
        weight = tower.conv1.weight
        self._tower = tower
        self._mel_BMT = weight.new_zeros(bucket.windows, config.n_mels, 2 * bucket.positions)
        self._num_positions_B = torch.ones(bucket.windows, dtype=torch.int64, device=weight.device)
        self._rows_BRL = torch.empty(0)

        def work() -> None:
            self._rows_BRL = tower.proj(tower.states(self._mel_BMT, self._num_positions_B))

        self._replay = capture(work)

    def __call__(self, mels: Sequence[Tensor]) -> list[Tensor]:
        lengths = [_num_positions(mel) for mel in mels]
        self._mel_BMT.zero_()
        for place_MT, mel in zip(self._mel_BMT, mels, strict=False):
            place_MT[:, : mel.shape[1]] = mel
        self._num_positions_B[: len(mels)] = torch.tensor(lengths)
        self._replay()
        # Copies: the next replay overwrites the rows.
        return [
            self._tower.framed(rows_RL[None, : self._tower.num_rows(length)].clone())[0]
            for rows_RL, length in zip(self._rows_BRL, lengths, strict=False)
        ]


def _num_positions(mel: Tensor) -> int:
    return mel.shape[1] // 2
