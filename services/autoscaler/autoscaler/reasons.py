"""The sentences that say why a modality has the replicas it has, for people. Knows words, decides nothing."""

from __future__ import annotations

from autoscaler.need import Need
from autoscaler.rules import Rules
from trichord.demand import UNITS, Demand


def cause(demand: Demand, need: Need, rules: Rules) -> str:
    """The part of the need that asks for most."""
    unit, does = UNITS[demand.modality], f"a replica does {figure(need.rate)}"
    what = "the oldest job waits" if demand.modality == "worker" else "at the 95th percentile, work waits"
    late = f"{what} {figure(demand.queue_p95_ms)} ms"
    parts = (
        (need.arriving / rules.use_up, f"{figure(demand.arrived_cost_per_s)} {unit}/s come and {does}"),
        (need.in_flight, f"{figure(demand.running_cost)} {unit} are in work and {does} a second"),
        (need.backlog, f"{figure(demand.queued_cost)} {unit} wait and {does} a second"),
        (need.slo, f"{late}, {figure(rules.slo_queue_p95_ms)} ms at most is wanted"),
        (need.kv / rules.kv_up, f"{demand.kv_use:.0%} of the KV cache is in use"),
    )
    most, sentence = max(parts)
    if demand.num_held and most <= 1:
        return f"{number(demand.num_held, 'request')} held for it to wake"
    return sentence if most else "nothing waits, runs or comes"


def stale(current: int, silent_s: float | None, rules: Rules) -> str:
    """There is no data to decide by."""
    silence = "no gateway tells of it" if silent_s is None else f"the newest report is {silent_s:.0f} s old"
    return f"Held at {current}: {silence} (older than {rules.stale_s:.0f} s is not believed)."


def up(current: int, replicas: int, wanted: int, rules: Rules, why: str) -> str:
    """More are needed than there are."""
    limit = ""
    if wanted > replicas:
        by = "max_replicas" if replicas == rules.max_replicas else f"step_up, {rules.step_up} starting at once"
        limit = f" ({wanted} are needed; limited by {by})"
    if replicas == current:
        return f"Held at {current}: {why}{limit}."
    return f"{'Woken' if not current else 'Up'} from {current} to {replicas}: {why}{limit}."


def steady(current: int, why: str) -> str:
    """As many as are needed."""
    return f"Steady at {current}: {why}." if current else "Asleep: nothing waits, runs or comes."


def starting(current: int, num_starting: int, spare: int) -> str:
    """Fewer would do, but some are starting."""
    return f"Held at {current}: {spare} would do, but {number(num_starting, 'replica')} starting is not taken away."


def remembered(current: int, now_needed: int, rules: Rules) -> str:
    """Fewer would do now, but not some time ago."""
    return f"Held at {current}: {now_needed} would do now, but as many were needed within {rules.down_window_s:.0f} s."


def paced(current: int, spare: int, rules: Rules) -> str:
    """A step down was just made."""
    every_s = rules.step_down_every_s
    return f"Held at {current}: {spare} would do, but the last step down was less than {every_s:.0f} s ago."


def down(current: int, replicas: int, spare: int, rules: Rules) -> str:
    """Fewer do."""
    if spare < replicas:
        return f"Down from {current} to {replicas}: {spare} would do; {rules.step_down} at a time."
    return f"Down from {current} to {replicas}: that many did for {rules.down_window_s:.0f} s."


def asleep(current: int, least: int, idle_s: float) -> str:
    """Nothing has come for long."""
    return f"Down from {current} to {least}: no work for {idle_s:.0f} s."


def idle(current: int, idle_s: float, rules: Rules) -> str:
    """Nothing comes, but not for long enough yet."""
    return f"Steady at {current}: no work for {idle_s:.0f} s; it sleeps after {rules.idle_s:.0f} s."


def budget(reason: str, replicas: int, gpu_budget: float) -> str:
    """The sentence of a decision that the GPU budget changed."""
    return f"Limited to {replicas} by the budget of {gpu_budget:g} GPUs; without it: {reason}"


def number(count: int, noun: str) -> str:
    """``1 replica``, ``2 replicas``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def figure(value: float) -> str:
    """Three digits, or all before the point: ``0.25``, ``12.5``, ``2,000``."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
