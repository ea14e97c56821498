"""Small seeded traces: a constant rate, a burst, days, on and off. For tests and for getting a feel.

Arrivals are Poisson: their rate changes with time, and candidates at the highest rate are thinned (Lewis and Shedler,
Naval Research Logistics 26(3), 1979). What a request holds is drawn by ``mix``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from autoscaler.replay.mix import Mix
from autoscaler.replay.trace import Arrival

Rate = Callable[[float], float]
"""Share of the highest rate, from 0 to 1, at a time in seconds."""


def constant(_time_s: float) -> float:
    """Always the same."""
    return 1.0


def burst(time_s: float) -> float:
    """A tenth, but for one minute after five."""
    return 1.0 if 300 <= time_s < 360 else 0.1


def diurnal(time_s: float) -> float:
    """Days, beginning at midnight: a tenth at night, all of it at noon."""
    return 0.55 - 0.45 * math.cos(2 * math.pi * time_s / 86400)


def on_off(time_s: float) -> float:
    """Five minutes of work, then 25 of none."""
    return 1.0 if time_s % 1800 < 300 else 0.0


SHAPES: dict[str, Rate] = {"constant": constant, "burst": burst, "diurnal": diurnal, "on-off": on_off}


def generate(
    shape: Rate, peak_per_s: float, duration_s: float, seed: int, mix: Mix | None = None, mean_tokens: int = 200
) -> list[Arrival]:
    """A trace of ``duration_s`` seconds; prompts and answers are geometric with a mean of ``mean_tokens``."""
    random = np.random.default_rng(seed)
    candidates = np.sort(random.uniform(0, duration_s, random.poisson(peak_per_s * duration_s)))
    times = [float(time) for time in candidates if random.random() < shape(float(time))]
    tokens = random.geometric(1 / mean_tokens, (len(times), 2))
    texts = [Arrival(time, 0, 0, 0.0, int(p), int(o)) for time, (p, o) in zip(times, tokens, strict=True)]
    return (mix or Mix()).onto(texts, seed)
