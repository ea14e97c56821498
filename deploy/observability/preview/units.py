"""Numbers as Grafana writes them behind an axis or in a panel, by its id of a unit. Pure."""

from __future__ import annotations

from typing import Final

Scale = tuple[tuple[float, str], ...]
"""From which value on in which unit, the largest first."""

_SECONDS: Final[Scale] = ((60.0, " min"), (1.0, " s"), (1e-3, " ms"), (1e-6, " µs"))
_MICROSECONDS: Final[Scale] = ((1e6, " s"), (1e3, " ms"), (1.0, " µs"))
_BYTES: Final[Scale] = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B"))
_PERCENT: Final[Scale] = ((0.01, "%"),)
_PLAIN: Final[Scale] = ((1e6, " M"), (1e3, " K"), (1.0, ""))
_SCALES: Final = {"s": _SECONDS, "µs": _MICROSECONDS, "bytes": _BYTES, "percentunit": _PERCENT}
_SUFFIXES: Final = {"reqps": " req/s", "ops": " ops/s"}


def written(value: float, unit: str) -> str:
    """A number with its unit, to three digits."""
    scale = _SCALES.get(unit, _PLAIN)
    size, name = next((step for step in scale if abs(value) >= step[0]), scale[-1])
    if not value:
        size, name = next(((step, name) for step, name in scale if step == 1.0), scale[-1])
    return f"{_digits(value / size)}{name}{_suffix(unit)}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _suffix(unit: str) -> str:
    word = unit.removeprefix("suffix:")
    return f" {word.strip()}" if word != unit else _SUFFIXES.get(unit, "")
