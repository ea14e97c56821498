"""What the tracing bench makes of its figures."""

from __future__ import annotations

from bench.tracing import ARMS, LOADS, Rates, ratios, report


def rates() -> Rates:
    """Three rounds; in the last the machine was half as fast, for all alike."""
    figures = {"untraced": [100.0, 100.0, 50.0], "traced": [97.0, 98.0, 48.5], "hung": [96.0, 90.0, 47.5]}
    return {(load.name, arm.name): figures[arm.name] for load in LOADS for arm in ARMS}


def test_a_ratio_is_of_one_round() -> None:
    for load in LOADS:
        assert ratios(rates())[f"{load.name}_traced_over_untraced"] == 0.97
        assert ratios(rates())[f"{load.name}_hung_over_untraced"] == 0.95


def test_the_report_has_every_load_and_the_growth() -> None:
    told = report(rates(), 3.4)
    assert "| stories | 100.0 | 97.0 | 0.970 | 0.950 |" in told
    assert "| glances |" in told
    assert "grew by 3 MiB" in told
