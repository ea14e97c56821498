"""The bucket in Python: what must hold of any, whatever is asked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.bucket import MAX_DEBT_MIN, Buckets
from gateway.admission.verdict import FOR_EVER_MS

FULL = (100, 6000, 50, 90_000)
ONE = (1, 600, 0, 0)


def reserve(buckets: Buckets, now_ms: int, amounts=ONE, name="a", limits=FULL, num_slots=100, lease_ms=10**9):
    return buckets.reserve(now_ms, limits, num_slots, amounts, name, lease_ms)


asked = st.lists(st.tuples(st.integers(0, 20_000), st.tuples(*[st.integers(0, limit) for limit in FULL])), max_size=60)


@given(asked)
def test_no_more_comes_in_than_a_minutes_budget_and_what_has_flowed_in_since(asked):
    buckets, now_ms, taken = Buckets(0), 0, [0, 0, 0, 0]
    for i, (wait_ms, amounts) in enumerate(asked):
        now_ms += wait_ms
        if reserve(buckets, now_ms, amounts, str(i), num_slots=1000)[0]:
            taken = [before + amount for before, amount in zip(taken, amounts, strict=True)]
        for used, limit in zip(taken, FULL, strict=True):
            assert used * 60_000 <= limit * (60_000 + now_ms)


@given(asked)
def test_a_refusal_takes_nothing_and_its_wait_is_exact(asked):
    buckets, now_ms = Buckets(0), 0
    for i, (wait_ms, amounts) in enumerate(asked):
        now_ms += wait_ms
        reply = reserve(buckets, now_ms, amounts, str(i), num_slots=1000)
        waits_ms = reply[2::2]
        assert bool(reply[0]) == (not any(waits_ms))
        if not reply[0]:
            wait_ms = max(waits_ms)
            early = reserve(buckets, now_ms + wait_ms - 1, amounts, f"{i} early", num_slots=1000)
            assert early[0] == 0
            now_ms += wait_ms
            assert reserve(buckets, now_ms, amounts, f"{i} again", num_slots=1000)[0] == 1


@given(st.tuples(*[st.integers(0, limit) for limit in FULL]))
def test_what_is_given_back_is_there_again(amounts):
    buckets = Buckets(0)
    before = reserve(buckets, 0, (0, 0, 0, 0), "look")
    reserve(buckets, 0, amounts)
    assert buckets.settle(0, FULL, amounts, "a")
    assert reserve(buckets, 0, (0, 0, 0, 0), "look")[1:9] == before[1:9]


def test_an_overrun_goes_below_zero_and_is_paid_back_in_time():
    buckets = Buckets(0)
    reserve(buckets, 0)
    buckets.settle(0, FULL, (0, -12_000, 0, 0), "a")
    refused = reserve(buckets, 0, name="b")
    assert refused[3:5] == [-6600, 72_000]  # 7200 tokens are missing, 100 come each second
    assert reserve(buckets, 0, (1, 0, 5, 0), name="image only")[0] == 1
    assert reserve(buckets, 72_000, name="b")[0] == 1


def test_a_wrong_figure_does_not_shut_a_tenant_out_for_days():
    buckets = Buckets(0)
    reserve(buckets, 0)
    buckets.settle(0, FULL, (0, -(10**15), 0, 0), "a")
    assert reserve(buckets, 0, name="b")[4] == MAX_DEBT_MIN * 60_000 + 6000


def test_more_than_the_budget_is_never_allowed():
    assert reserve(Buckets(0), 0, (1, 6001, 0, 0))[:5] == [0, 100, 0, 6000, FOR_EVER_MS]
    assert reserve(Buckets(0), 0, (1, 0, 0, 0), limits=(0, 0, 0, 0))[2] == FOR_EVER_MS
    assert reserve(Buckets(0), 0, (0, 0, 0, 0), num_slots=0)[9:] == [0, FOR_EVER_MS]


def test_a_slot_is_back_when_it_is_settled_or_its_lease_ends():
    buckets = Buckets(0)
    assert reserve(buckets, 0, num_slots=1, lease_ms=500)[9:] == [0, 0]
    assert reserve(buckets, 400, num_slots=1, name="b")[9:] == [0, 100]
    assert reserve(buckets, 500, num_slots=1, name="b")[0] == 1
    assert not buckets.settle(500, FULL, (0, 0, 0, 0), "a")
    assert buckets.settle(500, FULL, (0, 0, 0, 0), "b")
    assert reserve(buckets, 500, num_slots=1, name="c")[0] == 1


def test_a_clock_that_goes_back_gives_nothing():
    buckets = Buckets(10_000)
    reserve(buckets, 10_000, (100, 0, 0, 0))
    assert reserve(buckets, 4_000, (1, 0, 0, 0), "b")[0] == 0
    assert reserve(buckets, 4_600, (1, 0, 0, 0), "c")[0] == 1
