"""What is most common."""

from __future__ import annotations

from trichord_training.evaluation.baselines import Majority
from trichord_training.evaluation.drafts import Draft
from trichord_training.evaluation.sets import SETS


def test_the_most_common_answer_to_a_question_wins_over_the_most_common_of_all() -> None:
    counted = [Draft("Shape?", "ring")] * 3 + [Draft("Colour?", "red")] * 2 + [Draft("Colour?", "blue")]
    majority = Majority(counted)
    assert majority.answer(Draft("Colour?", "green")) == "red"
    assert majority.answer(Draft("Shape?", "heart")) == "ring"
    assert majority.answer(Draft("Number?", "7")) == "ring"


def test_a_spoken_question_is_the_question() -> None:
    majority = Majority([Draft("", "red", spoken="which colour")] * 2 + [Draft("", "ring", spoken="which shape")])
    assert majority.answer(Draft("", "heart", spoken="which shape")) == "ring"


def test_of_balanced_answers_it_knows_no_more_than_one() -> None:
    majority = Majority.of(SETS["shape"], seed=0)
    drafts = [SETS["shape"].draft(0, "test", index) for index in range(400)]
    right = sum(majority.answer(draft) == draft.expected for draft in drafts)
    assert right / len(drafts) < 0.25
