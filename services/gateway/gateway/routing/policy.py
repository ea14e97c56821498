"""Who is chosen. Pure: candidates in, one of them out. Knows nothing of health, which has thinned them out before.

Two policies. Encoders keep nothing between calls, so the least loaded one takes the next: every candidate is looked at
rather than two at random, because a pool has few and a gateway knows its own calls in progress exactly. (Two choices
serve against herds that follow one stale report; there is none here.) Decoders keep the prefixes that they have seen,
so a conversation stays with one: rendezvous hashing (Thaler and Ravishankar 1998), bounded by load (consistent hashing
with bounded loads, arXiv 1608.01350). Rendezvous rather than a ring: no virtual nodes to tune, and of the keys of a
replica that leaves each goes to its own next choice, all others stay.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Load(NamedTuple):
    """What a candidate has in progress, as far as this gateway knows."""

    address: str
    num_calls: int
    cost: float
    """Of those calls together, in the unit of the pool's callers: tiles, seconds of sound."""


Choose = Callable[[Sequence[Load]], Load]
"""One of at least one candidate."""


def least_cost(candidates: Sequence[Load]) -> Load:
    """The one with the least cost in progress, then with the fewest calls; ties at random, or all gateways agree."""
    return min(candidates, key=lambda load: (load.cost, load.num_calls, random.random()))  # noqa: S311


def by_affinity(candidates: Sequence[Load], key: bytes, load_factor: float) -> Load:
    """The key's first choice that has room. An empty key has no choice: the least loaded.

    Room is ``load_factor`` times the average number of calls, the new one counted in and rounded up: somebody has it.
    """
    if not key:
        return min(candidates, key=lambda load: (load.num_calls, random.random()))  # noqa: S311
    num_calls = 1 + sum(load.num_calls for load in candidates)
    room = math.ceil(load_factor * num_calls / len(candidates))
    return next(load for load in ranked(candidates, key) if load.num_calls < room)


def ranked(candidates: Sequence[Load], key: bytes) -> list[Load]:
    """Candidates in the key's own order, the same in every gateway."""
    return sorted(candidates, key=lambda load: _weight(key, load.address), reverse=True)


def _weight(key: bytes, address: str) -> bytes:
    return hashlib.blake2b(address.encode(), key=hashlib.blake2b(key, digest_size=32).digest(), digest_size=8).digest()
