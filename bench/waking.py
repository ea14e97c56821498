"""Vision from no replica to several and back under a burst of images, and what that costs the text meanwhile.

Starts a local cluster whose models only wait, with the autoscaler, and sends text at a steady rate all along: first
alone, then while a burst of images wakes vision and is worked off, then until vision sleeps again. Writes its section
of docs/measurements.md and the plot in docs/images. Knows nothing of how replicas are decided.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import httpx2

from bench import waking_plot
from bench.cluster import machine, trichord
from bench.measurements import put
from bench.streams import percentile
from bench.waking_load import Load, Request
from trichord.client import OmniClient
from trichord.home import home

NAME, PORT = "bench-waking", 7620
QUIET_S, TEXTS_PER_S = 30.0, 8.0
NUM_IMAGES, IMAGES_PER_S = 240, 12.0
"""For twenty seconds more than a replica encodes (7.6 a second), and fewer than three do."""
MAX_SLEEP_S = 120.0
SAMPLE_S = 0.2
FOLDER = Path(__file__).parent
PLOT = FOLDER.parent / "docs" / "images" / "waking.png"
SETTINGS = {
    "TRICHORD_WAKING_MAX_HELD": str(NUM_IMAGES),
    "TRICHORD_WAKING_NOTICE_INTERVAL_S": "1",
    # An encoder on a core gains nothing by batches, and their images would reach the decoder all at once.
    "TRICHORD_ADMISSION_IMAGE_SLOTS": "4",
    # A GPU computes some 300 tokens of prompts while it reads the weights, so a step may as well take them.
    "TRICHORD_ENGINE_PROMPT_SHARE": "256",
}


class Replicas(NamedTuple):
    """Of vision, at one moment."""

    at_s: float
    ready: int
    starting: int


class Run(NamedTuple):
    """All that was seen."""

    requests: Sequence[Request]
    replicas: Sequence[Replicas]
    burst_s: tuple[float, float]
    """From the first image to the last one's answer."""

    def texts(self, begin_s: float, end_s: float) -> list[float]:
        """Milliseconds to the first token of the text that came between."""
        texts = (request for request in self.requests if not request.is_image and not request.failed)
        return [text.first_token_ms for text in texts if begin_s <= text.sent_s < end_s]

    @property
    def images(self) -> list[Request]:
        """In the order in which they came."""
        return [request for request in self.requests if request.is_image]


async def measure() -> Run:
    """Quiet, burst, and until vision sleeps."""
    socket = home() / "run" / NAME / "control.sock"
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with (
        OmniClient(f"127.0.0.1:{PORT}") as client,
        httpx2.AsyncClient(transport=transport, base_url="http://supervisor") as control,
    ):
        load = Load(client, time.monotonic())
        seen: list[Replicas] = []
        background = [
            asyncio.create_task(load.texts(TEXTS_PER_S)),
            asyncio.create_task(_sample(control, load, seen)),
        ]
        await asyncio.sleep(QUIET_S)
        begin_s = load.now_s()
        await load.images(NUM_IMAGES, IMAGES_PER_S)
        end_s = load.now_s()
        await _asleep(seen)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await load.settled()
    return Run(load.requests, seen, (begin_s, end_s))


async def _sample(control: httpx2.AsyncClient, load: Load, seen: list[Replicas]) -> None:
    while True:
        counts = (await control.get("/scale")).json()["vision-encoder"]
        seen.append(Replicas(load.now_s(), counts["ready"], counts["starting"]))
        await asyncio.sleep(SAMPLE_S)


async def _asleep(seen: Sequence[Replicas]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(MAX_SLEEP_S):
            while seen[-1].ready or seen[-1].starting:  # noqa: ASYNC110 - another task's sampling
                await asyncio.sleep(SAMPLE_S)


def figures(run: Run) -> dict[str, float]:
    """What is told of a run."""
    begin_s, end_s = run.burst_s
    quiet, burst = run.texts(1.0, begin_s), run.texts(begin_s, end_s)
    waited_s = [image.first_token_s - image.sent_s for image in run.images if not image.failed]
    return {
        "text_p50_quiet_ms": round(percentile(quiet, 50), 1),
        "text_p50_burst_ms": round(percentile(burst, 50), 1),
        "text_p99_quiet_ms": round(percentile(quiet, 99), 1),
        "text_p99_burst_ms": round(percentile(burst, 99), 1),
        "text_p99_ratio": round(percentile(burst, 99) / percentile(quiet, 99), 2),
        "images_held": sum(image.was_held for image in run.images),
        "failed": sum(bool(request.failed) for request in run.requests),
        "image_p99_s": round(percentile(waited_s, 99), 1),
        "first_replica_s": round(next(r.at_s for r in run.replicas if r.ready) - begin_s, 1),
        "most_replicas": max(r.ready for r in run.replicas),
        "replicas_at_the_end": run.replicas[-1].ready + run.replicas[-1].starting,
    }


def report(told: dict[str, float]) -> str:
    """The section of docs/measurements.md."""
    return "\n".join(
        [
            "## Vision wakes, grows and sleeps again while text goes on",
            "",
            f"`make bench-waking`, {date.today()}: a local cluster whose models only wait (`bench/waking.yaml`), on",
            f"{machine()}. Text comes {TEXTS_PER_S:.0f} times a second all along; vision sleeps. Then",
            f"{NUM_IMAGES} images come, {IMAGES_PER_S:.0f} a second. They are held until the first replica is ready;",
            "the autoscaler starts more, and lets all go when nothing is left to do.",
            "",
            "| | quiet | during the burst |",
            "|---|---|---|",
            f"| text's first token p50, ms | {told['text_p50_quiet_ms']} | {told['text_p50_burst_ms']} |",
            f"| text's first token p99, ms | {told['text_p99_quiet_ms']} | {told['text_p99_burst_ms']} |",
            "",
            f"p99 is {told['text_p99_ratio']} times that of quiet. The first replica was ready after"
            f" {told['first_replica_s']} s; {told['most_replicas']:.0f} were",
            f"ready at most, {told['replicas_at_the_end']:.0f} at the end. {told['images_held']:.0f} images were held,"
            f" {told['failed']:.0f} requests failed; 99 % had their",
            f"first token within {told['image_p99_s']} s.",
            "",
            "![Replicas, waiting images and text's first token over time](images/waking.png)",
        ]
    )


def main() -> None:
    """Measures, draws, writes the section, prints the figures."""
    os.environ.update(SETTINGS)
    scaling = ["--autoscale", "--max-replicas", "3", "--rules", str(FOLDER / "waking_rules.yaml")]
    simulation = ["--preset", "megrez-3b-omni", "--simulation", str(FOLDER / "waking.yaml")]
    try:
        trichord("up", "--name", NAME, "--port", str(PORT), *simulation, *scaling)
        run = asyncio.run(measure())
    finally:
        trichord("down", "--name", NAME)
    told = figures(run)
    waking_plot.draw(run.requests, run.replicas, run.burst_s, PLOT)
    put("bench-waking", report(told))
    print(report(told))
    print("BENCH", json.dumps(told))


if __name__ == "__main__":
    main()
