"""How long text waits for the decoder while a tenant sends a burst of images: through lanes, and through one queue.

Encoder and decoder are simulated: they hold a slot for as long as they would work, and burn no CPU. Each way gets the
same requests at the same times. Knows nothing of models or the wire.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from gateway.admission.assembly import open_admission
from gateway.admission.lane import Ticket
from gateway.admission.lanes import LaneName, Lanes
from gateway.admission.priority_queue import Priority
from gateway.admission.settings import AdmissionSettings

TEXT_EVERY_S, PREFILL_S, ANSWER_S, IMAGE_S = 0.025, 0.03, 0.1, 0.15
"""Text comes every 25 ms at random, and its answer takes 100 ms, the first token after 30: of 12 slots, 4 are busy."""
RUN_S, BURST_AT_S, NUM_BURST = 6.0, 1.0, 200
"""After a second, 200 images at once: 200 x 150 ms on two encoder slots are 15 s of work. What comes
out of the encoder keeps 1.3 slots of the decoder busy, which is work and not queueing."""
BOUNDS = AdmissionSettings.model_validate(
    {"text_slots": 12, "image_slots": 2, "max_queued": 10_000, "max_queued_per_tenant": 10_000}
)
DEADLINE_S = 120.0


class Arrival:
    """One request's way to the decoder."""

    def __init__(self) -> None:
        self._came_s = time.monotonic()
        self._served_s: float | None = None

    def served(self) -> None:
        """It has the decoder."""
        self._served_s = time.monotonic()

    @property
    def waited_ms(self) -> float:
        """Until it had the decoder; until now if it has not."""
        return ((self._served_s or time.monotonic()) - self._came_s) * 1e3


Handle = Callable[[Lanes, Arrival], Awaitable[None]]


class Way(NamedTuple):
    """How requests are queued."""

    name: str
    text: Handle
    image: Handle


async def encode(lanes: Lanes) -> None:
    """Encodes one image."""
    async with slot(lanes, "image", "burst"):
        await asyncio.sleep(IMAGE_S)


async def answer(lanes: Lanes, tenant: str, arrival: Arrival) -> None:
    """Answers one request."""
    async with slot(lanes, "text", tenant):
        arrival.served()
        await asyncio.sleep(ANSWER_S)


def slot(lanes: Lanes, lane: LaneName, tenant: str) -> AbstractAsyncContextManager[Ticket]:
    """A slot for one live request."""
    return lanes.slot(lane, tenant, 1, Priority.LIVE, DEADLINE_S)


async def text_in_lane(lanes: Lanes, arrival: Arrival) -> None:
    """Waits for the decoder only."""
    await answer(lanes, "writer", arrival)


async def image_in_lanes(lanes: Lanes, arrival: Arrival) -> None:
    """Waits for the encoder in its lane, and only then for the decoder."""
    await encode(lanes)
    await answer(lanes, "burst", arrival)


async def text_in_one_queue(lanes: Lanes, arrival: Arrival) -> None:
    """Waits in the order of arrival, whoever else does: one lane, one tenant."""
    await answer(lanes, "all", arrival)


async def image_in_one_queue(lanes: Lanes, arrival: Arrival) -> None:
    """Waits for its turn, and then has it while it is encoded too."""
    async with slot(lanes, "text", "all"):
        arrival.served()
        await encode(lanes)
        await asyncio.sleep(ANSWER_S)


LANES = Way("lanes", text_in_lane, image_in_lanes)
ONE_QUEUE = Way("one queue", text_in_one_queue, image_in_one_queue)


class Waits(NamedTuple):
    """Of the text that came from the burst on, in milliseconds; who still waited at the end counts with that."""

    mean: float
    p50: float
    p99: float


async def run(way: Way, num_images: int) -> Waits:
    """One run."""
    lanes, gaps = open_admission(BOUNDS, link=None).lanes, random.Random(1)
    texts: list[Arrival] = []
    tasks: list[asyncio.Future[None]] = []
    started, burst = time.monotonic(), range(num_images)
    while (now_s := time.monotonic() - started) < RUN_S:
        if now_s >= BURST_AT_S:
            tasks += [asyncio.ensure_future(way.image(lanes, Arrival())) for _ in burst]
            burst = range(0)
            texts.append(Arrival())
        tasks.append(asyncio.ensure_future(way.text(lanes, texts[-1] if now_s >= BURST_AT_S else Arrival())))
        await asyncio.sleep(gaps.expovariate(1 / TEXT_EVERY_S))
    waits_ms = [arrival.waited_ms for arrival in texts]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    percentiles = statistics.quantiles(waits_ms, n=100)
    return Waits(statistics.mean(waits_ms), percentiles[49], percentiles[98])


def table(figures: dict[tuple[str, int], Waits]) -> str:
    """One line for each run."""
    lines = ["| queueing | images at once | text waits, mean ms | p50 ms | p99 ms |", "|---|---|---|---|---|"]
    for (name, num_images), waits in figures.items():
        lines.append(f"| {name} | {num_images} | " + " | ".join(f"{wait:.1f}" for wait in waits) + " |")
    return "\n".join(lines)


def ratios(figures: dict[tuple[str, int], Waits]) -> dict[str, float]:
    """Text's time to first token with the burst over that without it."""
    found = {}
    for name in (LANES.name, ONE_QUEUE.name):
        for figure in ("p50", "p99"):
            with_burst, without = (
                getattr(figures[name, num_images], figure) + PREFILL_S * 1e3 for num_images in (NUM_BURST, 0)
            )
            found[f"text_first_token_{figure}_{name.replace(' ', '_')}"] = round(with_burst / without, 2)
    return found


async def measure() -> dict[tuple[str, int], Waits]:
    """Both ways, without and with the burst."""
    return {(way.name, num): await run(way, num) for way in (LANES, ONE_QUEUE) for num in (0, NUM_BURST)}


def main() -> None:
    """Measures and prints."""
    figures = asyncio.run(measure())
    print(table(figures))
    print("BENCH", json.dumps(ratios(figures)))


if __name__ == "__main__":
    main()
