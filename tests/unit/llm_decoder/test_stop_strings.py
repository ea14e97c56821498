from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_decoder.stop_strings import StopStrings

letters = st.text(alphabet="abé", max_size=24)
stops_lists = st.lists(st.text(alphabet="abé", min_size=1, max_size=5), max_size=4)


def naive(text: str, stops: list[str]) -> tuple[str, bool]:
    """Looks at ever longer beginnings of the whole text until one holds a stop string."""
    for end in range(len(text) + 1):
        if starts := [text[:end].find(stop) for stop in stops if stop in text[:end]]:
            return text[: min(starts)], True
    return text, False


def streamed(text: str, stops: list[str], cuts: list[int]) -> tuple[str, bool]:
    stop_strings, shown = StopStrings(stops), ""
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for start, end in itertools.pairwise(edges):
        shown += stop_strings.push(text[start:end])
        if stop_strings.matched:
            return shown, True
    return shown + stop_strings.flush(), False


@given(text=letters, stops=stops_lists, cuts=st.lists(st.integers(0, 100), max_size=24))
def test_ends_where_the_naive_search_ends_however_it_is_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    assert streamed(text, stops, cuts) == naive(text, stops)


@given(text=letters, stops=stops_lists)
def test_holds_back_no_more_than_may_become_a_stop_string(text: str, stops: list[str]) -> None:
    stop_strings, shown = StopStrings(stops), ""
    for character in text:
        shown += stop_strings.push(character)
        if stop_strings.matched:
            return
        seen = text[: len(shown) + len(stop_strings._held)]
        held = seen[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)


def test_text_flows_without_stop_strings() -> None:
    assert StopStrings([]).push("anything") == "anything"


def test_a_stop_string_across_pieces_is_never_shown() -> None:
    stop_strings = StopStrings(["END"])
    assert [stop_strings.push(piece) for piece in ("one E", "N", "X EN", "D two")] == ["one ", "", "ENX ", ""]
    assert stop_strings.matched
    assert stop_strings.flush() == ""


def test_the_longer_of_two_that_end_together_wins() -> None:
    stop_strings = StopStrings(["c", "abc"])
    assert stop_strings.push("xabc") == "x"


def test_nothing_may_follow_a_stop_string() -> None:
    stop_strings = StopStrings(["."])
    stop_strings.push("one.")
    with pytest.raises(AssertionError, match="after a stop string"):
        stop_strings.push("two")
