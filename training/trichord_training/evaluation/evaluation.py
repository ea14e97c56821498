"""Runs an evaluation: samples made, asked every way, scored beside baselines. Knows no command line and no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from trichord.checkpoint.progress import Stages
from trichord.errors import TrainingError
from trichord.model_config import ModelConfig
from trichord_training.base import Base
from trichord_training.evaluation.asking import Model, ask, ask_text_only
from trichord_training.evaluation.baselines import Majority
from trichord_training.evaluation.prompts import PROMPTS
from trichord_training.evaluation.report import (
    Answered,
    Measure,
    Report,
    SetReport,
    TextReport,
    Way,
    same_identity,
    versions,
)
from trichord_training.evaluation.sample import Sample
from trichord_training.evaluation.sets import SETS, EvalSet
from trichord_training.splits import Split

TEXT_BAR = 0.02
"""Largest change of perplexity, relative (arXiv 2502.15803, section 4.3)."""


@dataclass(frozen=True)
class Plan:
    """What is asked."""

    sets: tuple[str, ...]
    """Names of ``sets.SETS``, in the order of the report."""
    samples: int
    """Of each set."""
    seed: int
    split: Split
    at_once: int
    """Questions in progress at a time."""


async def evaluate(plan: Plan, models: Mapping[Way, Model], stages: Stages) -> Report:
    """Asks every model the same samples; the first is the one that is judged, and that is asked without media.

    ``stages`` counts samples. Raises TrainingError if the models are not the same checkpoint in the same type, or if
    samples cannot be made here; and whatever a model raises.
    """
    identities = {way: await model.identity() for way, model in models.items()}
    if not same_identity(identities):
        message = "The cluster does not serve this checkpoint in this type, so answers may differ."
        raise TrainingError(f"{message} Name the one it serves with --preset and --dtype.")
    identity = next(iter(identities.values()))
    sets = [await _evaluate_set(SETS[name], plan, models, stages) for name in plan.sets]
    return Report(
        model=identity.model,
        fingerprints=identity.fingerprints,
        ways=tuple(models),
        split=plan.split,
        seed=plan.seed,
        versions=versions(),
        sets=tuple(sets),
    )


async def _evaluate_set(eval_set: EvalSet, plan: Plan, models: Mapping[Way, Model], stages: Stages) -> SetReport:
    answers: dict[Way, list[str]] = {}
    seconds: dict[Way, float] = {}
    with stages(eval_set.name, plan.samples * (1 + len(models))) as advance:
        samples = []
        for index in range(plan.samples):
            samples.append(eval_set.sample(plan.seed, plan.split, index))
            advance(1)
        for way, model in models.items():
            started_s = time.perf_counter()
            answers[way] = await ask(model, samples, plan.at_once, advance)
            seconds[way] = round(time.perf_counter() - started_s, 2)
        text_only = await ask_text_only(next(iter(models.values())), samples, plan.at_once)
    most_common = Majority.of(eval_set, plan.seed)
    majority = [most_common.answer(eval_set.draft(plan.seed, plan.split, sample.index)) for sample in samples]
    return SetReport(
        name=eval_set.name,
        samples=len(samples),
        seconds=seconds,
        measures=_measures(eval_set, samples, answers, majority, text_only),
        equal=sum(len(set(said)) == 1 for said in zip(*answers.values(), strict=True)) if len(answers) > 1 else None,
        answered=tuple(_answered(sample, answers) for sample in samples),
    )


def _measures(
    eval_set: EvalSet,
    samples: Sequence[Sample],
    answers: Mapping[Way, Sequence[str]],
    majority: Sequence[str],
    text_only: Sequence[str],
) -> tuple[Measure, ...]:
    expected = [sample.expected for sample in samples]
    measures = []
    for metric in eval_set.metrics:
        scores = {way: metric.score(zip(expected, said, strict=True)) for way, said in answers.items()}
        bar = eval_set.bar if metric is eval_set.metrics[0] else None
        judged = next(iter(scores.values())).value
        measure = Measure(
            metric=metric.name,
            scores=scores,
            majority=metric.score(zip(expected, majority, strict=True)),
            text_only=metric.score(zip(expected, text_only, strict=True)),
            bar=bar,
            passed=None if bar is None else metric.meets(judged, bar),
        )
        measures.append(measure)
    return tuple(measures)


def _answered(sample: Sample, answers: Mapping[Way, Sequence[str]]) -> Answered:
    said = {way: answers[way][sample.index] for way in answers}
    return Answered(index=sample.index, question=sample.question, expected=sample.expected, answers=said)


async def evaluate_text(checkpoint: Path, num_prompts: int, threads: int, stages: Stages) -> TextReport:
    """Holds a checkpoint against the base that it was trained from, in this process, over the first prompts.

    Raises TrainingError if the base was not pulled or is another model's, CheckpointError for a broken checkpoint.
    """
    from trichord_training.evaluation import perplexity
    from trichord_training.evaluation.inprocess import InProcessModel

    base, started_s = Base.open().directory, time.perf_counter()
    perplexity.check_comparable(ModelConfig.read(base), ModelConfig.read(checkpoint))
    prompts = PROMPTS[:num_prompts]
    with stages("text", 3 * len(prompts)) as advance:
        with closing(InProcessModel(base, threads=threads)) as model:
            texts = await perplexity.answers_of(model, prompts, advance)
        before, after = (perplexity.perplexity(path, texts, advance) for path in (base, checkpoint))
    change = after / before - 1
    return TextReport(
        base=base.name,
        prompts=len(prompts),
        base_perplexity=before,
        perplexity=after,
        change=change,
        bar=TEXT_BAR,
        passed=abs(change) < TEXT_BAR,
        seconds=round(time.perf_counter() - started_s, 2),
    )
