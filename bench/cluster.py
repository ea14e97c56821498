"""Time to first token and tokens a second for text, an image, a sound and both, through a cluster that it starts.

Every figure is a median over runs, the kinds taken in turn so that none has the quiet moment to itself. Knows nothing
of how the cluster works.
"""

from __future__ import annotations

import asyncio
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from trichord.client import OmniClient, audio, image, user
from trichord.v1 import decoder_pb2, gateway_pb2

NAME, PORT, RUNS, NUM_TOKENS = "bench", 7460, 9, 64
MEDIA = Path(__file__).parents[1] / "examples" / "media"
PICTURE, SOUND = image((MEDIA / "sign.png").read_bytes()), audio((MEDIA / "sentence.flac").read_bytes())

QUESTIONS = {
    "text": user("Tell me a story about a lighthouse."),
    "image": user(PICTURE, "What does the sign say?"),
    "audio": user(SOUND, "What was said?"),
    "image + audio": user(PICTURE, SOUND, "Do they agree?"),
}


class Run(NamedTuple):
    """One answer, in milliseconds."""

    first_token_ms: float
    tokens_per_s: float
    encode_ms: float
    prefill_ms: float
    prompt_tokens: float


def trichord(*arguments: str) -> None:
    """Runs one command; it says on stderr what it does."""
    subprocess.run([Path(sys.executable).parent / "trichord", *arguments], check=True)


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
            await ask(client, question)
        for _ in track(range(RUNS), "asking", console=Console(stderr=True)):
            for kind, question in QUESTIONS.items():
                runs[kind].append(await ask(client, question))
    return {kind: Run(*map(statistics.median, zip(*some, strict=True))) for kind, some in runs.items()}


def show(medians: dict[str, Run]) -> None:
    """The table, and the line of ratios."""
    table = Table("question", "prompt tokens", "encode ms", "prefill ms", "first token ms", "tokens/s", box=None)
    for kind, run in medians.items():
        figures = (run.prompt_tokens, run.encode_ms, run.prefill_ms, run.first_token_ms, run.tokens_per_s)
        table.add_row(kind, *(f"{figure:.1f}" if figure < 100 else f"{figure:.0f}" for figure in figures))
    console = Console()
    console.print(f"{platform.processor() or platform.machine()}, preset smol, medians of {RUNS} runs")
    console.print(table)
    text = medians["text"]
    ratios = {
        f"first_token_{kind}_over_text": round(run.first_token_ms / text.first_token_ms, 2)
        for kind, run in medians.items()
    }
    print("BENCH", json.dumps(ratios))


if __name__ == "__main__":
    try:
        trichord("up", "--name", NAME, "--port", str(PORT), "--preset", "smol")
        show(asyncio.run(measure()))
    finally:
        trichord("down", "--name", NAME)
