"""What could be answered without seeing or hearing: the answer that is most common in training. Knows no model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from trichord_training.evaluation.drafts import Draft
from trichord_training.evaluation.sets import EvalSet

COUNTED = 1000
"""Training samples that the most common answer is counted over."""


class Majority:
    """The most common answer to a question among some drafts, and to all of them where the question is not there."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        by_question: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for draft in drafts:
            by_question[draft.asked][draft.expected] += 1
        self._by_question = {asked: answers.most_common(1)[0][0] for asked, answers in by_question.items()}
        self._overall = sum(by_question.values(), Counter[str]()).most_common(1)[0][0]

    @classmethod
    def of(cls, eval_set: EvalSet, seed: int) -> Majority:
        """Over the set's samples in the train split."""
        return cls([eval_set.draft(seed, "train", index) for index in range(COUNTED)])

    def answer(self, draft: Draft) -> str:
        """The answer to a draft's question."""
        return self._by_question.get(draft.asked, self._overall)
