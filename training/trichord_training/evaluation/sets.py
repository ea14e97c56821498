"""The sets of an evaluation: what each asks, how its answers are scored, and the score that is asked for.

Knows no model. A sample is the same on every machine for a seed, a split, a set and an index, as long as espeak-ng and
the fonts are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trichord_training.evaluation import drafts
from trichord_training.evaluation.drafts import Draft
from trichord_training.evaluation.rendering import images_of, sound_of
from trichord_training.evaluation.sample import Sample
from trichord_training.evaluation.scoring import DIGITS_RIGHT, EXACT, WORD_ERROR_RATE, Metric
from trichord_training.splits import Split, sample_rng

MAX_SAMPLES = 1_000_000
"""Of a set: the sets' generators of chance stand as far apart."""


@dataclass(frozen=True)
class EvalSet:
    """Samples of one kind."""

    name: str
    number: int
    """Its place among all sets: part of what names a sample."""
    make: Callable[[np.random.Generator, Split, int], Draft]
    metrics: tuple[Metric, ...] = (EXACT,)
    bar: float | None = None
    """What the first metric should reach after training on a CPU; None: as far as the hours carry."""

    def draft(self, seed: int, split: Split, index: int) -> Draft:
        """What sample ``index`` shows, says and asks."""
        return self.make(self._rng(seed, split, index), split, index)

    def sample(self, seed: int, split: Split, index: int) -> Sample:
        """Sample ``index``, drawn and spoken. Raises TrainingError if espeak-ng or the fonts are not there."""
        rng = self._rng(seed, split, index)
        draft = self.make(rng, split, index)
        images, sound = images_of(draft, rng, split), sound_of(draft, rng, split)
        return Sample(self.name, index, draft.question, draft.expected, images, sound)

    def _rng(self, seed: int, split: Split, index: int) -> np.random.Generator:
        return sample_rng(seed, split, self.number * MAX_SAMPLES + index)


SETS: dict[str, EvalSet] = {
    eval_set.name: eval_set
    for eval_set in (
        EvalSet("shape", 0, drafts.shape, bar=0.90),
        EvalSet("colour", 1, drafts.colour, bar=0.90),
        EvalSet("digit", 2, drafts.digit, bar=0.85),
        EvalSet("number", 3, drafts.number),
        EvalSet("sign", 4, drafts.sign),
        EvalSet("two-images", 5, drafts.two_images),
        EvalSet("speech", 6, drafts.speech, (WORD_ERROR_RATE, EXACT), bar=0.10),
        EvalSet("spoken-digits", 7, drafts.spoken_digits, (DIGITS_RIGHT, EXACT), bar=0.95),
        EvalSet("spoken-question", 8, drafts.spoken_question),
        EvalSet("image-question", 9, drafts.image_question),
    )
}
"""By name."""
