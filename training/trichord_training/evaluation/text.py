"""Whether text ability stayed, as one row of an evaluation: the checkpoint beside the base that it was trained from."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from trichord.checkpoint.progress import Stages
from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.evaluation.inprocess import InProcessModel
from trichord_training.evaluation.perplexity import answers_of, check_comparable, perplexity
from trichord_training.evaluation.prompts import PROMPTS
from trichord_training.evaluation.report import TextReport

BAR = 0.02
"""Largest change of perplexity, relative (arXiv 2502.15803, section 4.3)."""


async def evaluate_text(checkpoint: Path, num_prompts: int, threads: int, stages: Stages) -> TextReport:
    """Holds a checkpoint against its base, in this process, over the first prompts, which ``stages`` counts thrice.

    Raises TrainingError if the base was not pulled or is another model's, CheckpointError for a broken checkpoint.
    """
    base, started_s = Base.open().directory, time.perf_counter()
    check_comparable(ModelConfig.read(base), ModelConfig.read(checkpoint))
    prompts = PROMPTS[:num_prompts]
    with stages("text", 3 * len(prompts)) as advance:
        with closing(InProcessModel(base, threads=threads)) as model:
            texts = await answers_of(model, prompts, advance)
        before, after = (perplexity(path, texts, advance) for path in (base, checkpoint))
    change = after / before - 1
    return TextReport(
        base=base.name,
        prompts=len(prompts),
        base_perplexity=before,
        perplexity=after,
        change=change,
        bar=BAR,
        passed=abs(change) < BAR,
        seconds=round(time.perf_counter() - started_s, 2),
    )
