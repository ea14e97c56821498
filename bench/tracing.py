"""What tracing costs: tokens a second with every request traced, over none traced, and with a collector that hangs.

One cluster, told to obey its callers' sampled flag, so that both kinds of requests go through the same processes in
turn. Knows nothing of what is in a trace.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import psutil
from opentelemetry import trace
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from rich.console import Console
from rich.progress import track

from bench.cluster import machine, trichord
from bench.measurements import put
from bench.media import new_picture, new_sound
from trichord.client import OmniClient, user
from trichord.v1 import decoder_pb2, gateway_pb2

NAME, PRESET, PORT, ROUNDS, NUM_STREAMS = "bench-tracing", "demo", 7660, 5, 8
SINK, GATEWAY = "traces", "gateway"
IDS = RandomIdGenerator()


class Load(NamedTuple):
    """What each of the streams asks, and how long its answer is."""

    name: str
    media: Callable[[], tuple[gateway_pb2.Part, ...]]
    num_tokens: int
    asks: int
    """Requests that each stream makes, one after another, in a round."""


LOADS = (Load("stories", tuple, 64, 2), Load("glances", lambda: (new_picture(), new_sound()), 8, 2))


class Arm(NamedTuple):
    """A way to treat the requests of a round."""

    name: str
    flags: TraceFlags
    is_hung: bool = False
    """Whether the collector hangs meanwhile."""


UNTRACED = Arm("untraced", TraceFlags(TraceFlags.DEFAULT))
ARMS = (UNTRACED, Arm("traced", TraceFlags(TraceFlags.SAMPLED)), Arm("hung", TraceFlags(TraceFlags.SAMPLED), True))
Rates = dict[tuple[str, str], list[float]]
"""Tokens a second, round by round, by load and arm."""


async def ask(client: OmniClient, load: Load, flags: TraceFlags) -> None:
    """One answer, in a caller's trace that is sampled or not."""
    caller = SpanContext(IDS.generate_trace_id(), IDS.generate_span_id(), is_remote=False, trace_flags=flags)
    question = user(f"Tell story {time.monotonic_ns()}.", *load.media())
    sampling = decoder_pb2.SamplingParams(max_tokens=load.num_tokens, ignore_eos=True)
    with trace.use_span(NonRecordingSpan(caller)):
        async for _ in client.chat([question], sampling, timeout_s=120):
            pass


async def tokens_per_s(client: OmniClient, load: Load, flags: TraceFlags) -> float:
    """Of all streams together."""

    async def stream() -> None:
        for _ in range(load.asks):
            await ask(client, load, flags)

    began_s = time.perf_counter()
    await asyncio.gather(*(stream() for _ in range(NUM_STREAMS)))
    return NUM_STREAMS * load.asks * load.num_tokens / (time.perf_counter() - began_s)


async def measure(processes: dict[str, int]) -> Rates:
    """Every load by every arm in turn; the order turns round each time, so that none has the better place."""
    rates: Rates = {(load.name, arm.name): [] for load in LOADS for arm in ARMS}
    async with OmniClient(f"127.0.0.1:{PORT}") as client:
        for load in LOADS:
            await tokens_per_s(client, load, UNTRACED.flags)
        for number in track(range(ROUNDS), "asking", console=Console(stderr=True)):
            for load in LOADS:
                for arm in ARMS[:: 1 if number % 2 else -1]:
                    with stopped(processes[SINK] if arm.is_hung else 0):
                        rates[load.name, arm.name].append(await tokens_per_s(client, load, arm.flags))
    return rates


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that takes connections and never answers; 0 is none."""
    if pid:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if pid:
            os.kill(pid, signal.SIGCONT)


def over_untraced(rates: Rates, load: str, arm: str) -> float:
    """The median of each round's ratio."""
    pairs = zip(rates[load, arm], rates[load, UNTRACED.name], strict=True)
    return statistics.median(rate / untraced for rate, untraced in pairs)


def ratios(rates: Rates) -> dict[str, float]:
    """What the bench is held to: at least 0.95."""
    return {
        f"{load.name}_{arm.name}_over_untraced": round(over_untraced(rates, load.name, arm.name), 3)
        for load in LOADS
        for arm in ARMS
        if arm is not UNTRACED
    }


def report(rates: Rates, grown_mib: float) -> str:
    """The section of docs/measurements.md."""
    lines = [
        "## What tracing costs",
        "",
        f"`make bench-tracing`, {date.today()}: preset {PRESET}, {NUM_STREAMS} streams at once, {ROUNDS} rounds in",
        f"which every way takes its turn through the same processes, on {machine()}.",
        "A story is a short question with 64 tokens of answer; a glance has an image, a sound and 8 tokens. *Hung*:",
        "every request traced while the collector takes connections and answers none. It is the cluster's own,",
        "on the same processor. Ratios are medians of rounds.",
        "",
        "| load | untraced tokens/s | traced | traced over untraced | hung over untraced |",
        "|---|---|---|---|---|",
    ]
    for load in LOADS:
        untraced, traced = (statistics.median(rates[load.name, arm.name]) for arm in ARMS[:2])
        shares = " | ".join(f"{over_untraced(rates, load.name, arm.name):.3f}" for arm in ARMS[1:])
        lines.append(f"| {load.name} | {untraced:.1f} | {traced:.1f} | {shares} |")
    lines += ["", f"The gateway's memory grew by {grown_mib:.0f} MiB from the first round to the last."]
    return "\n".join(lines)


def main() -> None:
    """Measures, writes the section, prints the ratios."""
    os.environ["TRICHORD_TELEMETRY_TRUST_PARENT"] = "true"
    try:
        trichord("up", "--name", NAME, "--port", str(PORT), "--preset", PRESET, traced=True)
        processes = pids()
        before = psutil.Process(processes[GATEWAY]).memory_info().rss
        rates = asyncio.run(measure(processes))
        grown_mib = (psutil.Process(processes[GATEWAY]).memory_info().rss - before) / 2**20
    finally:
        trichord("down", "--name", NAME)
    put("bench-tracing", report(rates, grown_mib))
    print(report(rates, grown_mib))
    print("BENCH", json.dumps(ratios(rates)))


def pids() -> dict[str, int]:
    """The cluster's processes, by name."""
    command = [str(Path(sys.executable).parent / "trichord"), "status", "--name", NAME, "--json"]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {process["name"]: process["pid"] for process in told["processes"]}


if __name__ == "__main__":
    main()
