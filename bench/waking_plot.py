"""The picture of ``bench.waking``: replicas, images that wait, and text's first tokens over one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bench.waking_load import Request

_BLUE, _LIGHT, _ORANGE, _GREY = "#1f5fa8", "#a9c6e8", "#c8641b", "#555555"


class Counted(Protocol):
    """Replicas at one moment."""

    @property
    def at_s(self) -> float:
        """On the bench's clock."""

    @property
    def ready(self) -> int:
        """That can be called."""

    @property
    def starting(self) -> int:
        """That cannot be yet."""


def draw(requests: Sequence[Request], replicas: Sequence[Counted], burst_s: tuple[float, float], file: Path) -> None:
    """Writes the PNG."""
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(9, 7), sharex=True, height_ratios=(1, 1, 1.4), layout="constrained"
    )
    _replicas(top, replicas)
    _waiting(middle, requests, replicas[-1].at_s)
    _first_tokens(bottom, requests)
    for axes in (top, middle, bottom):
        axes.axvspan(*burst_s, color="#f2efe8", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    top.set_title("A burst of images wakes vision; text goes on (shaded: first image to last answer)", loc="left")
    bottom.set_xlabel("seconds")
    bottom.set_xlim(0, replicas[-1].at_s)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _replicas(axes: Axes, replicas: Sequence[Counted]) -> None:
    at_s = [seen.at_s for seen in replicas]
    ready, starting = np.array([(seen.ready, seen.starting) for seen in replicas]).T
    axes.stackplot(
        at_s, ready, starting, colors=(_BLUE, _LIGHT), labels=("ready", "starting"), step="post", linewidth=0
    )
    axes.set_ylabel("vision replicas")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="upper left", frameon=False)


def _waiting(axes: Axes, requests: Sequence[Request], end_s: float) -> None:
    images = [request for request in requests if request.is_image]
    at_s = np.arange(0, end_s, 0.1)
    sent = np.array([image.sent_s for image in images])
    encoded = np.nan_to_num(np.array([image.encoded_s for image in images]), nan=end_s)
    waiting = [int(((sent <= now_s) & (now_s < encoded)).sum()) for now_s in at_s]
    axes.fill_between(at_s, waiting, color=_ORANGE, linewidth=0, alpha=0.8)
    axes.set_ylabel("images held\nor queued")
    axes.set_ylim(bottom=0)


def _first_tokens(axes: Axes, requests: Sequence[Request]) -> None:
    texts = [request for request in requests if not request.is_image and not request.failed]
    axes.scatter(
        [text.sent_s for text in texts], [text.first_token_ms for text in texts], s=7, color=_GREY, linewidths=0
    )
    axes.set_ylabel("text's first token, ms")
    axes.set_ylim(bottom=0)
