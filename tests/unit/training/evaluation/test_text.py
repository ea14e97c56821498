"""Perplexity against another implementation, and the row that it becomes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tests.fused import independent_llama
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.progress import ignore, silent
from trichord.errors import TrainingError
from trichord_training.base import Base
from trichord_training.evaluation import text
from trichord_training.evaluation.perplexity import Text, check_comparable, perplexity

TEXTS = [Text([1, 40, 90, 33], [7, 8, 9]), Text([5], [200, 100, 60, 61, 62])]


def test_perplexity_is_that_of_an_independent_model(tiny: Path) -> None:
    llama = independent_llama(PRESETS["tiny"].llm, tiny)
    total = 0.0
    for prompt, answer in TEXTS:
        ids = torch.tensor([[*prompt, *answer]])
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        total += llama(ids, labels=labels).loss.item() * len(answer)
    assert perplexity(tiny, TEXTS, ignore) == pytest.approx(math.exp(total / 8), rel=1e-5)


def test_other_sizes_cannot_be_compared() -> None:
    check_comparable(PRESETS["smol"], PRESETS["smol"])
    with pytest.raises(TrainingError, match="tiny was not trained from smol"):
        check_comparable(PRESETS["smol"], PRESETS["tiny"])


@pytest.fixture
def _tiny_is_the_base(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = Base(tiny, Tokenizer.from_file(str(tiny / "tokenizer.json")))
    monkeypatch.setattr(text.Base, "open", lambda: base)


@pytest.mark.usefixtures("_tiny_is_the_base")
async def test_the_base_itself_has_not_changed(tiny: Path) -> None:
    report = await text.evaluate_text(tiny, 2, 1, silent)
    assert (report.prompts, report.change, report.passed) == (2, 0.0, True)
    assert report.base_perplexity == report.perplexity > 1


@pytest.mark.usefixtures("_tiny_is_the_base")
async def test_another_model_has(tmp_path: Path) -> None:
    other = tmp_path / "tiny"
    init(PRESETS["tiny"], other, seed=1)
    report = await text.evaluate_text(other, 2, 1, silent)
    assert report.change > report.bar
    assert not report.passed
