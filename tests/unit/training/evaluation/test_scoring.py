"""Scores against definitions written down another way."""

from __future__ import annotations

import functools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trichord_training.evaluation.scoring import (
    DIGITS_RIGHT,
    EXACT,
    WORD_ERROR_RATE,
    Z_95,
    Metric,
    normalised,
    wilson,
)

WORDS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=6).map(" ".join)
SAID = WORDS.filter(bool)


def edits(expected: tuple[str, ...], given: tuple[str, ...]) -> int:
    """Levenshtein's distance by its recursive definition."""

    @functools.cache
    def distance(i: int, j: int) -> int:
        if not (i and j):
            return i + j
        changed = distance(i - 1, j - 1) + (expected[i - 1] != given[j - 1])
        return min(changed, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(expected), len(given))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("STOP", "stop"),
        ("  It says:\n'Stop!' ", "it says stop"),
        ("7 and 3.", "7 and 3"),
        ("New Delhi", "new delhi"),
        ("a_b—c", "a b c"),
        ("?!", ""),
    ],
)
def test_case_punctuation_and_space_do_not_count(text: str, words: str) -> None:
    assert normalised(text) == words


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once == " ".join(once.split())


@given(st.lists(st.tuples(SAID, WORDS), min_size=1, max_size=5))
def test_word_errors_are_least_edits_over_words(pairs: list[tuple[str, str]]) -> None:
    score = WORD_ERROR_RATE.score(pairs)
    assert score.count == sum(edits(tuple(a.split()), tuple(b.split())) for a, b in pairs)
    assert score.of == sum(len(a.split()) for a, _ in pairs)
    assert score.value == score.count / score.of


@given(SAID, WORDS)
def test_digits_right_are_what_errors_leave(expected: str, given_: str) -> None:
    score = DIGITS_RIGHT.score([(expected, given_)])
    assert score.count == max(0, score.of - edits(tuple(expected.split()), tuple(given_.split())))
    assert (score.value == 1) == (expected == given_)


def test_digits_made_up_cost_as_much_as_missed_ones() -> None:
    assert [
        DIGITS_RIGHT.score([("one two three four", said)]).value
        for said in ("one two three", "one two three four four")
    ] == [0.75, 0.75]


def test_exact_answers_are_shares() -> None:
    score = EXACT.score([("red", "Red."), ("red", "It is red."), ("STOP", "stop"), ("7 and 3", "3 and 7")])
    assert (score.count, score.of, score.value) == (2, 4, 0.5)
    assert score.low < 0.5 < score.high


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval_as_published(count: int, of: int, low: float, high: float) -> None:
    """The last from Newcombe, Statistics in Medicine 17 (1998), table I."""
    assert wilson(count, of) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_wilsons_ends_are_where_the_score_test_begins_to_reject(of: int, share: float) -> None:
    count = round(share * of)
    low, high = wilson(count, of)
    assert 0 <= low <= count / of <= high <= 1
    for end in (low, high):
        deviation = Z_95 * math.sqrt(end * (1 - end) / of)
        assert end in (0.0, 1.0) or abs(count / of - end) == pytest.approx(deviation, rel=1e-6)


@pytest.mark.parametrize(("metric", "better"), [(EXACT, 0.9), (WORD_ERROR_RATE, 0.1)])
def test_a_bar_is_met_by_itself_and_by_what_is_better(metric: Metric, better: float) -> None:
    assert metric.meets(better, 0.5)
    assert metric.meets(0.5, 0.5)
    assert not metric.meets(1 - better, 0.5)
