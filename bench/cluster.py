"""Time to first token and tokens a second for text, an image, a sound and both, through a cluster that it starts.

Writes its section of docs/measurements.md. Every figure is a median over runs, the kinds taken in turn so that none has
the quiet moment to itself. Knows nothing of how the cluster works.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track

from bench.measurements import put
from bench.media import new_picture, new_sound
from trichord.client import OmniClient, user
from trichord.v1 import decoder_pb2, gateway_pb2

NAME, PRESET, PORT, RUNS, NUM_TOKENS = "bench", "demo", 7460, 9, 64
QUESTIONS: dict[str, Callable[[], gateway_pb2.Message]] = {
    "text": lambda: user("Tell me a story about a lighthouse."),
    "image": lambda: user(new_picture(), "What does the sign say?"),
    "audio": lambda: user(new_sound(), "What was said?"),
    "image + audio": lambda: user(new_picture(), new_sound(), "Do they agree?"),
}
"""Each time with media that nobody has seen."""


class Run(NamedTuple):
    """One answer, in milliseconds."""

    first_token_ms: float
    tokens_per_s: float
    encode_ms: float
    prefill_ms: float
    prompt_tokens: float


def trichord(*arguments: str, traced: bool = False) -> None:
    """Runs one command; it says on stderr what it does. What tracing costs is ``bench.tracing``'s to measure."""
    untraced = {} if traced else {"TRICHORD_TELEMETRY_OTLP_URL": ""}
    command = [str(Path(sys.executable).parent / "trichord"), *arguments]
    subprocess.run(command, check=True, env={**os.environ, **untraced})


async def ask(client: OmniClient, message: gateway_pb2.Message) -> Run:
    """One answer, timed by the client."""
    # No prefix is reused: each run begins with words of its own.
    unique = user(f"Run {time.monotonic_ns()}. ", *message.parts)
    sampling = decoder_pb2.SamplingParams(max_tokens=NUM_TOKENS, ignore_eos=True)
    started, first, finished = time.perf_counter(), 0.0, gateway_pb2.ChatFinished()
    async for event in client.chat([unique], sampling, timeout_s=120):
        if event.HasField("token") and not first:
            first = time.perf_counter()
        finished = event.finished
    seconds = time.perf_counter() - first
    counts = finished.usage.prompt_tokens
    return Run(
        (first - started) * 1e3,
        (NUM_TOKENS - 1) / seconds,
        finished.receipt.encode_ms,
        finished.receipt.decoder.prefill_ms,
        counts.text + counts.image + counts.audio,
    )


async def measure() -> dict[str, Run]:
    """The median run of each kind of question."""
    runs: dict[str, list[Run]] = {kind: [] for kind in QUESTIONS}
    async with OmniClient(f"127.0.0.1:{PORT}") as client:
        for question in QUESTIONS.values():
            await ask(client, question())
        for _ in track(range(RUNS), "asking", console=Console(stderr=True)):
            for kind, question in QUESTIONS.items():
                runs[kind].append(await ask(client, question()))
    return {kind: Run(*map(statistics.median, zip(*some, strict=True))) for kind, some in runs.items()}


def report(medians: dict[str, Run]) -> str:
    """The section of docs/measurements.md."""
    lines = [
        "## A question through the cluster, by its kind",
        "",
        f"`make bench-cluster`, {date.today()}: preset {PRESET}, one request at a time, answers of {NUM_TOKENS}",
        f"tokens, medians of {RUNS} runs taken in turn, on {machine()}. An image is",
        "`examples/media/sign.png` (1 tile), a sound",
        "`examples/media/sentence.flac` (3.7 s). No prefix and no embedding is reused.",
        "",
        "| question | prompt tokens | encode ms | prefill ms | first token ms | tokens/s |",
        "|---|---|---|---|---|---|",
    ]
    for kind, run in medians.items():
        figures = (run.prompt_tokens, run.encode_ms, run.prefill_ms, run.first_token_ms, run.tokens_per_s)
        lines.append(f"| {kind} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")
    return "\n".join(lines)


def ratios(medians: dict[str, Run]) -> dict[str, float]:
    """First tokens in first tokens of text: what hardly depends on the machine."""
    text_ms = medians["text"].first_token_ms
    return {f"first_token_{kind}_over_text": round(run.first_token_ms / text_ms, 2) for kind, run in medians.items()}


def machine() -> str:
    """The processor and its cores."""
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{len(models)} cores of {models[0]}"


def main() -> None:
    """Measures, writes the section, prints the ratios."""
    try:
        trichord("up", "--name", NAME, "--port", str(PORT), "--preset", PRESET)
        medians = asyncio.run(measure())
    finally:
        trichord("down", "--name", NAME)
    put("bench-cluster", report(medians))
    print(report(medians))
    print("BENCH", json.dumps(ratios(medians)))


if __name__ == "__main__":
    main()
