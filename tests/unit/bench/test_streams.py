import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.streams import Figures, all_started_s, gaps, percentile


def test_figures_of_two_streams_that_start_one_after_the_other():
    times = [[1.0, 2.0, 3.0, 4.0], [2.0, 2.5, 3.0, 5.0]]
    figures = Figures.of(times)
    assert figures.tokens_per_s == 8 / 5
    assert figures.decode_tokens_per_s == 4 / 2  # 3, 4 and 2.5, 3 came between 2 and 4
    assert figures.first_token_ms == 1500
    assert (figures.gap_p50_ms, figures.gap_p99_ms) == (1000, 2000)


def test_streams_that_never_decode_together_have_no_decoding_rate():
    assert math.isnan(Figures.of([[1.0, 2.0], [3.0, 4.0]]).decode_tokens_per_s)


def test_gaps_may_leave_out_what_was_before():
    assert gaps([[1.0, 2.0, 4.0]]) == [1.0, 2.0]
    assert gaps([[1.0, 2.0, 4.0]], after_s=2.0) == [2.0]
    assert all_started_s([[1.0], [3.0, 4.0], [2.0]]) == 3.0


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values, percent):
    found = percentile(values, percent)
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_medians_are_taken_figure_by_figure():
    runs = [Figures(1, 6, 2, 9, 5), Figures(2, 5, 3, 7, 5), Figures(3, 4, 1, 8, 5)]
    assert Figures.medians(runs) == pytest.approx((2, 5, 2, 8, 5))
