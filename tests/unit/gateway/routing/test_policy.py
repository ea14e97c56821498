"""Who is chosen, for any loads and keys."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.policy import Load, by_affinity, least_cost, ranked

ADDRESSES = st.lists(st.integers(1, 65535).map(lambda port: f"10.0.0.1:{port}"), min_size=1, max_size=12, unique=True)
LOAD_FACTORS = st.floats(1, 3)


@st.composite
def pools(draw: st.DrawFn) -> list[Load]:
    return [
        Load(address, draw(st.integers(0, 20)), draw(st.floats(0, 1e6, allow_nan=False))) for address in draw(ADDRESSES)
    ]


def idle(addresses: list[str]) -> list[Load]:
    return [Load(address, 0, 0.0) for address in addresses]


@given(pools())
def test_nobody_has_less_to_do_than_the_one_chosen_by_cost(pool: list[Load]) -> None:
    chosen = least_cost(pool)
    assert chosen in pool
    assert chosen.cost == min(load.cost for load in pool)
    assert chosen.num_calls == min(load.num_calls for load in pool if load.cost == chosen.cost)


def test_ties_are_broken_at_random() -> None:
    """Gateways that all begin with the first replica would make it hot."""
    pool = idle(["a:1", "b:1"])
    assert {least_cost(pool).address for _ in range(200)} == {"a:1", "b:1"}
    assert {by_affinity(pool, b"", 1.25).address for _ in range(200)} == {"a:1", "b:1"}


@given(pools(), st.binary(max_size=40), LOAD_FACTORS)
def test_affinity_never_overloads_the_one_it_chooses(pool: list[Load], key: bytes, load_factor: float) -> None:
    chosen = by_affinity(pool, key, load_factor)
    total = sum(load.num_calls for load in pool) + 1
    assert chosen.num_calls + 1 <= math.ceil(load_factor * total / len(pool))


@given(ADDRESSES, st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=60), LOAD_FACTORS)
def test_any_sequence_of_calls_stays_within_the_bound(addresses: list[str], keys: list[bytes], factor: float) -> None:
    """Calls that never end: the worst case. Also if all are of one conversation."""
    for sequence in (keys, keys[:1] * len(keys)):
        counts = Counter[str]()
        for key in sequence:
            counts[by_affinity([Load(a, counts[a], 0.0) for a in addresses], key, factor).address] += 1
        assert max(counts.values()) <= math.ceil(factor * len(sequence) / len(addresses))


@given(ADDRESSES, st.binary(min_size=1), st.randoms())
def test_the_order_of_the_replicas_changes_nothing(addresses: list[str], key: bytes, random: object) -> None:
    shuffled = list(addresses)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert by_affinity(idle(shuffled), key, 1.25) == by_affinity(idle(addresses), key, 1.25)


@given(ADDRESSES, st.binary(min_size=1), st.data())
def test_only_the_keys_of_a_replica_that_leaves_move(addresses: list[str], key: bytes, data: st.DataObject) -> None:
    """And each goes to its own second choice."""
    order = [load.address for load in ranked(idle(addresses), key)]
    leaves = data.draw(st.sampled_from(addresses))
    stay = [address for address in addresses if address != leaves]
    assert [load.address for load in ranked(idle(stay), key)] == [address for address in order if address != leaves]


@pytest.mark.parametrize("num_replicas", [2, 3, 5, 10])
def test_a_replica_that_leaves_moves_about_its_share_of_the_keys(num_replicas: int) -> None:
    """The expected share is 1/n of 4 000 keys; six standard deviations are allowed."""
    pool = idle([f"10.0.0.{i}:50051" for i in range(num_replicas)])
    keys = [str(i).encode() for i in range(4000)]
    before = {key: by_affinity(pool, key, 1.25) for key in keys}
    share = 1 / num_replicas
    for gone in pool:
        rest = [load for load in pool if load != gone]
        moved = sum(by_affinity(rest, key, 1.25) != before[key] for key in keys)
        assert moved == sum(chosen == gone for chosen in before.values())
        assert abs(moved / len(keys) - share) < 6 * math.sqrt(share * (1 - share) / len(keys))


def test_a_hot_conversation_spills_over_to_its_next_choice_only_while_it_is_hot() -> None:
    pool = idle(["a:1", "b:1", "c:1", "d:1"])
    first, second, *_ = (load.address for load in ranked(pool, b"hot"))
    busy = [load._replace(num_calls=5 if load.address == first else 1) for load in pool]
    assert by_affinity(busy, b"hot", 1.25).address == second
    assert by_affinity(pool, b"hot", 1.25).address == first
