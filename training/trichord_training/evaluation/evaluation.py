"""Runs an evaluation: samples made, asked every way, scored beside baselines. Knows no command line and no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trichord.checkpoint.progress import Advance, Stages
from trichord.errors import TrainingError
from trichord_training.evaluation.asking import Identity, Model, ask, ask_text_only
from trichord_training.evaluation.baselines import Majority
from trichord_training.evaluation.report import Answered, Measure, Report, SetReport, Way, versions
from trichord_training.evaluation.sample import Sample
from trichord_training.evaluation.scoring import Metric, Score
from trichord_training.evaluation.sets import SETS, EvalSet
from trichord_training.splits import Split


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


class Blind(NamedTuple):
    """Answers to a set's samples without seeing or hearing them."""

    majority: Sequence[str]
    text_only: Sequence[str]


async def evaluate(plan: Plan, models: Mapping[Way, Model], stages: Stages) -> Report:
    """Asks every model the same samples; the first is the one that is judged, and that is asked without media.

    ``stages`` counts samples. Raises TrainingError if the models are not the same checkpoint in the same type, or if
    samples cannot be made here; and whatever a model raises.
    """
    for name in plan.sets:
        SETS[name].sample(plan.seed, plan.split, 0)  # what is missing here is told now, not after minutes
    identity = _one_identity([await model.identity() for model in models.values()])
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


def _one_identity(identities: Sequence[Identity]) -> Identity:
    if any(identity != identities[0] for identity in identities):
        message = "The cluster does not serve this checkpoint in this type, so answers may differ."
        raise TrainingError(f"{message} Name the one it serves with --preset and --dtype.")
    return identities[0]


async def _evaluate_set(eval_set: EvalSet, plan: Plan, models: Mapping[Way, Model], stages: Stages) -> SetReport:
    answers: dict[Way, list[str]] = {}
    seconds: dict[Way, float] = {}
    with stages(eval_set.name, plan.samples * (1 + len(models))) as advance:
        samples = _samples(eval_set, plan, advance)
        for way, model in models.items():
            started_s = time.perf_counter()
            answers[way] = await ask(model, samples, plan.at_once, advance)
            seconds[way] = round(time.perf_counter() - started_s, 2)
        text_only = await ask_text_only(next(iter(models.values())), samples, plan.at_once)
    blind = Blind(_majority(eval_set, plan), text_only)
    return SetReport(
        name=eval_set.name,
        samples=len(samples),
        seconds=seconds,
        measures=tuple(_measure(eval_set, metric, samples, answers, blind) for metric in eval_set.metrics),
        equal=sum(len(set(both)) == 1 for both in zip(*answers.values(), strict=True)) if len(answers) > 1 else None,
        answered=tuple(_answered(sample, answers) for sample in samples),
    )


def _samples(eval_set: EvalSet, plan: Plan, advance: Advance) -> list[Sample]:
    samples = []
    for index in range(plan.samples):
        samples.append(eval_set.sample(plan.seed, plan.split, index))
        advance(1)
    return samples


def _majority(eval_set: EvalSet, plan: Plan) -> list[str]:
    majority = Majority.of(eval_set, plan.seed)
    return [majority.answer(eval_set.draft(plan.seed, plan.split, index)) for index in range(plan.samples)]


def _measure(
    eval_set: EvalSet, metric: Metric, samples: Sequence[Sample], answers: Mapping[Way, Sequence[str]], blind: Blind
) -> Measure:
    def score(given: Sequence[str]) -> Score:
        return metric.score((sample.expected, answer) for sample, answer in zip(samples, given, strict=True))

    scores = {way: score(given) for way, given in answers.items()}
    bar = eval_set.bar if metric is eval_set.metrics[0] else None
    judged = next(iter(scores.values()))
    return Measure(
        metric=metric.name,
        scores=scores,
        majority=score(blind.majority),
        text_only=score(blind.text_only),
        bar=bar,
        passed=None if bar is None else metric.meets(judged.value, bar),
    )


def _answered(sample: Sample, answers: Mapping[Way, Sequence[str]]) -> Answered:
    said = {way: given[sample.index] for way, given in answers.items()}
    return Answered(index=sample.index, question=sample.question, expected=sample.expected, answers=said)
