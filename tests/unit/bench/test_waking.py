"""Figures, section and picture of a run that is made up."""

from __future__ import annotations

from pathlib import Path

from bench import waking_plot
from bench.waking import Replicas, Run, figures, report
from bench.waking_load import Request


def made() -> Run:
    """Ten quiet seconds of text at 50 ms, ten of burst at 60; ten images held five seconds; two replicas."""
    texts = [Request(False, n / 10, first_token_s=n / 10 + (0.05 if n < 100 else 0.06)) for n in range(200)]
    images = [Request(True, 10 + n / 10, n < 5, 15.0, 15.5) for n in range(10)]
    lost = Request(True, 11.0, failed="OverloadedError")
    replicas = [Replicas(5.0, 0, 0), Replicas(12.0, 0, 1), Replicas(15.0, 1, 1), Replicas(16.0, 2, 0)]
    return Run([*texts, *images, lost], [*replicas, Replicas(30.0, 0, 0)], (10.0, 20.0))


def test_text_is_compared_and_images_are_counted() -> None:
    told = figures(made())
    assert (told["text_p99_quiet_ms"], told["text_p99_burst_ms"], told["text_p99_ratio"]) == (50.0, 60.0, 1.2)
    assert (told["images_held"], told["failed"], told["image_p99_s"]) == (5, 1, 5.5)
    assert (told["first_replica_s"], told["most_replicas"], told["replicas_at_the_end"]) == (5.0, 2, 0)


def test_the_section_tells_the_figures() -> None:
    section = report(figures(made()))
    assert "| text's first token p99, ms | 50.0 | 60.0 |" in section
    assert "1.2 times" in section


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    run, file = made(), tmp_path / "images" / "waking.png"
    waking_plot.draw(run.requests, run.replicas, run.burst_s, file)
    assert file.read_bytes().startswith(b"\x89PNG")
