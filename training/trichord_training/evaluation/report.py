"""What an evaluation found, as data: written as JSON, shown as a table. Knows no model."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from importlib import metadata
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from trichord_training.evaluation.scoring import Score
from trichord_training.splits import Split

Way = Literal["cluster", "process"]
"""The serving path, or everything in one process."""

_VERSIONED = ("trichord", "torch", "numpy", "pillow", "matplotlib", "soundfile", "soxr")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Answered(_Section):
    """One sample's answers."""

    index: int
    question: str = Field(description="As it was written; empty where it is spoken.")
    expected: str
    answers: dict[Way, str]


class Measure(_Section):
    """One metric of a set."""

    metric: str
    scores: dict[Way, Score]
    majority: Score = Field(description="Of the answer that is most common in training.")
    text_only: Score = Field(description="Of the same model, asked without the media.")
    bar: float | None = Field(None, description="What the score should reach after training on a CPU.")
    passed: bool | None = Field(None, description="Whether it does, through the cluster if that was asked.")


class SetReport(_Section):
    """One set."""

    name: str
    samples: int
    seconds: dict[Way, float] = Field(description="For all of the set's answers, several at once.")
    measures: tuple[Measure, ...]
    equal: int | None = Field(None, description="Samples whose served answer is the in-process one; null: not both.")
    answered: tuple[Answered, ...]


class TextReport(_Section):
    """Text ability, against the untouched base."""

    base: str
    prompts: int
    base_perplexity: float
    perplexity: float
    change: float = Field(description="Of the perplexity, relative; 0.01 is one per cent.")
    bar: float
    passed: bool
    seconds: float


class Report(_Section):
    """A whole evaluation."""

    model: str
    fingerprints: dict[Literal["vision", "audio"], str] = Field(description="Of the encoders that answered.")
    ways: tuple[Way, ...]
    split: Split
    seed: int
    versions: dict[str, str]
    sets: tuple[SetReport, ...]
    text: TextReport | None = None

    @property
    def passed(self) -> bool:
        """Whether every bar is met."""
        measures = [measure for set_report in self.sets for measure in set_report.measures]
        return all(verdict is not False for verdict in (*(m.passed for m in measures), self.text and self.text.passed))


def versions() -> dict[str, str]:
    """What samples and answers depend on beside the checkpoint."""
    found = {name: metadata.version(name) for name in _VERSIONED}
    return {"python": platform.python_version(), **found, "espeak-ng": _espeak_version()}


def _espeak_version() -> str:
    if (program := shutil.which("espeak-ng")) is None:
        return "none"
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
    told = asked.stdout
    return match[0] if (match := re.search(r"\d+(\.\d+)+", told)) else "unknown"
