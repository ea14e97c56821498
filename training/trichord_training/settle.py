"""Between the phases: rows that were nearest to the right embeddings become these embeddings themselves.

The first phases only ask which embedding a row is nearest to, so that rows come out ten times too long, in directions
of their own. A language model that shall read them needs them as it knows them. For pictures their squared distance to
the embeddings is made small, from the closest linear map; what says nothing becomes zero. For sounds no linear map is
close to 700 embeddings: there a softmax picks them. Knows no language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from trichord.errors import TrainingError
from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.captions import UNSAID
from trichord_training.device import in_bfloat16
from trichord_training.ears import Scribe, with_codebook
from trichord_training.hear import new_listener, save_ears
from trichord_training.pictures import Difficulty
from trichord_training.recipe import Recipe
from trichord_training.run_state import take, tensors_of
from trichord_training.see import See
from trichord_training.transcription import Transcription

FITTED_BATCHES = 24
"""Batches of training samples that the linear map is fitted to."""

RIDGE = 1e-3
_UNHEARD = 1_000_000
"""A step that phase 0 never came to."""


class SettlePictures(See):
    """Settles the resampler's rows, and the tower with them."""

    def __init__(
        self, config: ModelConfig, base: Base, recipe: Recipe, begin_with: Sequence[Path], device: torch.device
    ) -> None:
        super().__init__(config, base, recipe, device)
        take(self.module, _last_of("eyes.", begin_with))
        self._fit()

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """Squared distance of the rows to what they should say."""
        rows, said = self._rows_and_said(step)
        return _distance(rows, self._meant(said), said != UNSAID), {}

    def _rows_and_said(self, step: int) -> tuple[Tensor, Tensor]:
        first = (self._recipe.steps + FITTED_BATCHES + step) * self._recipe.batch_size
        patches, said, grid = self._drawn(
            "train", range(first, first + self._recipe.batch_size), self._grids[step % len(self._grids)], Difficulty()
        )
        with in_bfloat16(patches.device):
            return self.module.eyes(patches, grid), said

    def _meant(self, said: Tensor) -> Tensor:
        """What each query should give [N, Q, D]: zeros where a caption says nothing."""
        table = torch.nn.functional.pad(self.module.head.embeddings_VD, (0, 0, 0, 1))
        return table[said.masked_fill(said == UNSAID, len(table) - 1)]

    @torch.no_grad()
    def _fit(self) -> None:
        proj = self.module.eyes.resampler.proj
        inputs: list[Tensor] = []
        hook = self.module.eyes.resampler.ln_post.register_forward_hook(lambda _m, _i, out: inputs.append(out.float()))
        said = [self._rows_and_said(-1 - batch)[1] for batch in range(FITTED_BATCHES)]
        hook.remove()
        meant = self._meant(torch.cat(said))
        proj.copy_(closest_map(torch.cat(inputs).flatten(0, 1), meant.flatten(0, 1)))


class SettleSounds(Transcription):
    """Puts a codebook in the place of the projection, which gives the embeddings themselves, and goes on from there."""

    module: Scribe

    def __init__(
        self,
        config: ModelConfig,
        base: Base,
        recipe: Recipe,
        clips: Path,
        begin_with: Sequence[Path],
        device: torch.device,
    ) -> None:
        super().__init__(config, base, recipe, clips)
        if not config.audio.codebook_size:
            raise TrainingError(f"Preset {recipe.preset} has no codebook to settle sounds with. Leave this phase out.")
        listener = new_listener(config, base, self._vocabulary)
        take(listener, _last_of("ears.", begin_with))
        scribe = Scribe(config)
        scribe.ears.load_state_dict(with_codebook(listener, self._pause_1D))
        self._teach(scribe, device)

    def loss(self, step: int, progress: dict[str, float]) -> tuple[Tensor, Mapping[str, float]]:
        """CTC's loss of a batch, of those that the phase before did not have."""
        return super().loss(step + _UNHEARD, progress)

    def export(self, directory: Path) -> None:
        """Writes the tower's and the projection's tensors."""
        save_ears(self.module.ears.state_dict(), directory)


def _last_of(prefix: str, directories: Sequence[Path]) -> dict[str, Tensor]:
    """What the last run learnt that taught a tower of that name. Raises TrainingError if there is none."""
    for directory in reversed(directories):
        tensors = tensors_of(directory)
        if any(name.startswith(prefix) for name in tensors):
            return tensors
    raise TrainingError(f"Nothing to begin {prefix.rstrip('.')} with. Name the run of the phase before this one.")


def closest_map(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The matrix [in, out] with the least squared error, by ridge regression."""
    x, y = inputs.double(), outputs.double()
    gram = x.T @ x
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram, x.T @ y).to(outputs.dtype)  # type: ignore[no-any-return]


def _distance(rows: Tensor, meant: Tensor, speaks: Tensor) -> Tensor:
    """Mean squared length of the error: of rows that say something and of those that do not, half and half."""
    errors = (rows.float() - meant).square().sum(-1)
    kinds = [errors[which] for which in (speaks, ~speaks) if which.any()]
    return torch.stack([kind.mean() for kind in kinds]).mean()
