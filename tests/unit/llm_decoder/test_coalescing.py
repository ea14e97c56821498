"""Streams that hold tokens back deliver every one of them, in order, and none later than they may."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import strategies as st

from llm_decoder.coalescing import BASE_HOLD_MS, Pace
from llm_decoder.request import Finish
from llm_decoder.timings import Timings
from tests.fakes import CollectingSink
from trichord.errors import InternalError

NUM_CORES = 4
HOLD_PER_STREAM_MS = 5.0
"""On so many cores: a millisecond for each message, and a twentieth of the cores for all."""
TIMINGS = Timings(*[0.0] * len(Timings._fields))


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Messages(CollectingSink):
    """Keeps when each message came, and with what."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.messages: list[tuple[float, list[int]]] = []

    def emit(self, token_ids, logprobs):
        self.messages.append((self.clock(), list(token_ids)))
        super().emit(token_ids, logprobs)


def streams(num: int, max_hold_ms: float = 1000.0):
    clock = Clock()
    pace = Pace(max_hold_ms, NUM_CORES, clock)
    sinks = [Messages(clock) for _ in range(num)]
    return clock, pace, sinks, [pace.coalesced(sink) for sink in sinks]


def test_slow_tokens_are_never_held_back():
    clock, _, (sink,), (stream,) = streams(1)
    for token in range(4):
        stream.emit([token], [])
        clock.now_s += BASE_HOLD_MS / 1e3 + 1e-6
    assert [ids for _, ids in sink.messages] == [[0], [1], [2], [3]]


def test_nothing_is_held_back_where_that_is_off():
    _, _, sinks, several = streams(3, max_hold_ms=0)
    for token in range(4):
        for stream in several:
            stream.emit([token], [])
    for sink in sinks:
        assert [ids for _, ids in sink.messages] == [[0], [1], [2], [3]]


def test_the_first_token_goes_at_once_and_the_next_ones_together():
    clock, pace, sinks, several = streams(5)
    hold_s = (BASE_HOLD_MS + 4 * HOLD_PER_STREAM_MS) / 1e3
    assert pace.hold_s() == pytest.approx(hold_s)
    for token in range(7):
        for stream in several:
            stream.emit([token], [{token: -0.5}])
        clock.now_s += hold_s / 2.99
    for sink in sinks:
        assert [ids for _, ids in sink.messages] == [[0], [1, 2, 3], [4, 5, 6]]
        assert [next(iter(row)) for row in sink.logprobs] == list(range(7))


def test_no_token_waits_longer_than_it_may():
    _, pace, *_ = streams(64, max_hold_ms=20)
    assert pace.hold_s() == 0.02
    _, pace, *_ = streams(64, max_hold_ms=0)
    assert pace.hold_s() == 0


def test_what_a_resting_stream_holds_is_sent_by_the_others():
    clock, _, (sink, _), (resting, other) = streams(2)
    resting.emit([1], [])
    resting.emit([2], [])
    assert sink.token_ids == [1]
    clock.now_s += 0.001 + 2 * (BASE_HOLD_MS + HOLD_PER_STREAM_MS) / 1e3
    other.emit([9], [])
    assert sink.token_ids == [1, 2]


def test_a_stream_that_fails_has_told_what_it_had():
    _, pace, (sink, _), (stream, _) = streams(2)
    stream.emit([1], [])
    stream.emit([2], [])
    stream.fail(InternalError("It broke."))
    assert (sink.token_ids, sink.failure) == ([1, 2], "It broke.")
    assert pace.hold_s() == pytest.approx(BASE_HOLD_MS / 1e3)


def test_streams_that_are_gone_do_not_slow_the_others():
    _, pace, _, several = streams(3)
    several[0].finish([1], [], Finish.LENGTH, TIMINGS)
    assert pace.hold_s() == pytest.approx((BASE_HOLD_MS + HOLD_PER_STREAM_MS) / 1e3)
    several.pop()
    assert pace.hold_s() == pytest.approx(BASE_HOLD_MS / 1e3), "left without a word"


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 0.02)), max_size=60), st.sampled_from([0.0, 5.0, 1000.0])
)
def test_every_token_comes_once_in_order_and_in_time(steps, max_hold_ms):
    clock, pace, sinks, several = streams(4, max_hold_ms)
    emitted: list[list[int]] = [[] for _ in sinks]
    due_s: list[dict[int, float]] = [{} for _ in sinks]
    for token, (index, wait_s) in enumerate(steps):
        clock.now_s += wait_s
        emitted[index].append(token)
        due_s[index][token] = clock.now_s + 2 * pace.hold_s()
        several[index].emit([token], [{token: 0.0}])
        for sink, dues in zip(sinks, due_s, strict=True):
            late = {t for t, due in dues.items() if due < clock.now_s - 1e-9} - set(sink.token_ids)
            assert not late, "somebody emitted since"
    for index, stream in enumerate(several):
        stream.finish([-1], [{-1: 0.0}], Finish.LENGTH, TIMINGS)
        assert sinks[index].token_ids == [*emitted[index], -1]
        assert [next(iter(row)) for row in sinks[index].logprobs] == [*emitted[index], -1]
