"""Pictures of a contest, as PNG files: replicas over time, and attainment over GPU-hours.

The only module that draws; it is imported when a picture is asked for. Knows nothing of how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib
import numpy as np
import numpy.typing as npt

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from autoscaler.replay.cluster import MODALITIES, Modality
from autoscaler.replay.contest import Entry, frontier
from autoscaler.replay.load import MINUTE_S

STYLES: Final = {
    "static": ("#7a7a7a", ":"),
    "hpa-busy": ("#b91c1c", "-."),
    "hpa-slots": ("#d97706", "--"),
    "trichord": ("#0f766e", "-"),
}
"""Colour and line of each scaler: told apart without colours too."""


def replicas(
    entries: Sequence[Entry], loads: Mapping[Modality, npt.NDArray[np.float64]], title: str, path: Path
) -> None:
    """Replicas of each modality over time for each scaler, over the load in replicas."""
    figure, axes = plt.subplots(len(MODALITIES), 1, figsize=(9, 8), sharex=True, layout="constrained")
    for axis, modality in zip(axes, MODALITIES, strict=True):
        load = loads[modality]
        axis.fill_between(np.arange(len(load)) + 0.5, load, color="#d1e7e4", lw=0, label="load, in replicas")
        for entry in entries:
            timeline = entry.timelines[modality]
            times = [time_s / MINUTE_S for time_s, _ in timeline] + [len(load)]
            counts = [count for _, count in timeline]
            colour, line = STYLES[entry.scaler]
            axis.step(times, [*counts, counts[-1]], where="post", color=colour, ls=line, lw=1.6, label=entry.scaler)
        axis.set_ylabel(f"{modality} replicas")
        axis.set_ylim(0, _height(entries, modality, float(load.max())))
        axis.set_xlim(0, len(load))
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
    axes[-1].set_xlabel("minutes of the trace (simulated)")
    _save(figure, title, path)


def curves(entries: Sequence[Entry], title: str, path: Path) -> None:
    """Share of requests that miss the SLO over GPU-hours, both on logarithmic axes, a point for each setting."""
    figure, axis = plt.subplots(figsize=(9, 5), layout="constrained")
    for name, (colour, line) in STYLES.items():
        own = [entry for entry in entries if entry.scaler == name]
        if not own:
            continue
        points = [(entry.rows["all"].gpu_hours, entry.rows["all"].attainment) for entry in own]
        axis.scatter([hours for hours, _ in points], [_missed(a) for _, a in points], color=colour, s=18)
        best = frontier(own)
        axis.plot([hours for hours, _ in best], [_missed(a) for _, a in best], color=colour, ls=line, label=name)
    axis.set(xscale="log", yscale="log", xlabel="GPU-hours, loading and draining included (simulated)")
    axis.set_ylabel("attainment of the SLO")
    ticks = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)
    axis.set_yticks([_missed(share) for share in ticks], [f"{100 * share:g} %" for share in ticks], minor=False)
    axis.minorticks_off()
    hours = np.unique(np.geomspace(*axis.get_xlim(), 8).round(0))
    axis.set_xticks(hours, [f"{value:g}" for value in hours])
    axis.invert_yaxis()
    axis.grid(alpha=0.3)
    axis.legend(loc="best")
    _save(figure, title, path)


def _missed(attainment: float) -> float:
    return max(1e-4, 1 - attainment)


def _height(entries: Sequence[Entry], modality: Modality, load: float) -> float:
    """Room for all but a scaler that ran away, which would flatten the others."""
    counts = [count for entry in entries for _, count in entry.timelines[modality]]
    return 1.15 * max(1.0, load, *(count for count in counts if count <= 2 * load + 4))


def _save(figure: Figure, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize="medium")
    figure.savefig(path, dpi=90)
    plt.close(figure)
