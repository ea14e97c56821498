"""How many replicas a modality's work needs, in parts, as fractions of a replica. Pure arithmetic.

A queue that the ready replicas clear before another one could start needs nobody; what would still wait then does.
Knows nothing of limits, of steps, or of what was decided before.
"""

from __future__ import annotations

from typing import NamedTuple

from autoscaler.rules import Rules
from trichord.demand import Demand


class Need(NamedTuple):
    """All in replicas but ``rate``, which is the cost a second that one of them does."""

    rate: float
    arriving: float
    """That do work as fast as it comes, fully used."""
    in_flight: float
    """That finish what runs within ``drain_s``."""
    backlog: float
    """That clear within ``drain_s`` what will still wait when new replicas are ready."""
    slo: float
    """One more than are ready while work waits longer than it may: the rate must be lower than it was measured."""
    kv: float
    """The ready ones times the used share of their KV cache."""
    up: float
    """With fewer than this, more are started."""
    down: float
    """With more than this, some may end: after which ``up`` would not call them back."""


def need_of(rules: Rules, demand: Demand, num_ready: int, horizon_s: float) -> Need:
    """What ``demand`` needs while ``num_ready`` replicas work and no other is ready for ``horizon_s``."""
    rate = demand.served_cost_per_s_per_replica or rules.default_rate
    arriving, in_flight = demand.arrived_cost_per_s / rate, demand.running_cost / (rate * rules.drain_s)
    left = demand.queued_cost + (demand.arrived_cost_per_s - num_ready * rate) * horizon_s
    backlog = max(0.0, left) / (rate * rules.drain_s)
    is_late = demand.queued_cost > 0 and demand.queue_p95_ms > rules.slo_queue_p95_ms
    slo, kv = num_ready + 1.0 if is_late else 0.0, num_ready * demand.kv_use
    return Need(
        rate=rate,
        arriving=arriving,
        in_flight=in_flight,
        backlog=backlog,
        slo=slo,
        kv=kv,
        up=max(max(arriving / rules.use_up, in_flight) + backlog, slo, kv / rules.kv_up),
        down=max(_fewest(rules, demand, rate, max(arriving / rules.use_down, in_flight)), slo, kv / rules.kv_down),
    )


def _fewest(rules: Rules, demand: Demand, rate: float, load: float) -> float:
    """The least n that is at least ``load`` and the backlog of n ready replicas: linear in n, so solved at once."""
    pile = (demand.queued_cost + demand.arrived_cost_per_s * rules.startup_s) / (rate * rules.drain_s)
    return max(load, (load + pile) / (1 + rules.startup_s / rules.drain_s))
