"""What the gateway adds to a first token and to a token, and what an image seen before and a stalled reader cost.

The way to the first token is measured through a cluster of its own whose models take no time; the price of a token by
the processor time of one gateway in front of a source that costs nothing. Knows nothing of how the gateway works.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import openai
from PIL import Image
from rich.console import Console
from rich.progress import track

from bench import admission
from bench.cluster import machine, trichord
from bench.gateway_process import GatewayProcess, gateway_before_a_source
from bench.measurements import put
from bench.streams import percentile
from trichord.client import OmniClient, image, user
from trichord.server import open_channel
from trichord.settings import MAX_MESSAGE_BYTES
from trichord.v1 import decoder_pb2, decoder_pb2_grpc, gateway_pb2, gateway_pb2_grpc

NAME, PORT, DECODER_PORT, HTTP_PORT = "bench-gateway", 7540, 3, 4
NUM_REQUESTS, NUM_IMAGES, NUM_STREAMS, STREAM_TOKENS = 300, 40, 64, 1000
INSTANT = Path(__file__).with_name("instant.yaml")
QUESTION = "Tell me a story about a lighthouse."
ONE_TOKEN = decoder_pb2.SamplingParams(max_tokens=1, ignore_eos=True)

console = Console(stderr=True)
Way = Callable[[], AsyncIterator[bool]]
"""A request by one way: for each event, whether it is the first token."""


async def first_tokens_ms(ways: dict[str, Way]) -> dict[str, list[float]]:
    """Milliseconds of each request by each way, taken in turn so that none has the quiet moment to itself."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        await _first_token_ms(way)
    for _ in track(range(NUM_REQUESTS), "first tokens", console=console):
        for name, way in ways.items():
            times[name].append(await _first_token_ms(way))
    return times


async def _first_token_ms(way: Way) -> float:
    """Reads to the end all the same: what is left is not to disturb the next."""
    started, first_ms = time.perf_counter(), 0.0
    async for is_token in way():
        first_ms = first_ms or is_token * (time.perf_counter() - started) * 1e3
    assert first_ms, "there was no token"
    return first_ms


async def latency() -> dict[str, list[float]]:
    """The decoder's own front, and the gateway by both of its faces."""
    async with (
        openai.AsyncOpenAI(base_url=f"http://{_address(HTTP_PORT)}/v1", api_key="none") as http,
        open_channel(_address(0), MAX_MESSAGE_BYTES) as gateway_channel,
        open_channel(_address(DECODER_PORT), MAX_MESSAGE_BYTES) as channel,
    ):
        (model,) = [model.id async for model in http.models.list()]
        stub: Any = decoder_pb2_grpc.DecoderServiceStub(channel)
        message = decoder_pb2.DecoderMessage(role=decoder_pb2.ROLE_USER, parts=[decoder_pb2.DecoderPart(text=QUESTION)])
        request = decoder_pb2.GenerateRequest(messages=[message], sampling=ONE_TOKEN)

        async def direct() -> AsyncIterator[bool]:
            async for event in stub.Generate(request):
                yield event.HasField("chunk")

        omni: Any = gateway_pb2_grpc.OmniServiceStub(gateway_channel)
        chat = gateway_pb2.ChatRequest(messages=[user(QUESTION)], sampling=ONE_TOKEN)

        async def by_grpc() -> AsyncIterator[bool]:
            async for event in omni.Chat(chat):
                yield event.HasField("token")

        async def by_http() -> AsyncIterator[bool]:
            messages: Any = [{"role": "user", "content": QUESTION}]
            answer = await http.chat.completions.create(
                model=model, messages=messages, max_tokens=1, stream=True, temperature=0
            )
            async for chunk in answer:
                yield bool(chunk.choices and chunk.choices[0].delta.content)

        return await first_tokens_ms({"decoder front": direct, "gateway, gRPC": by_grpc, "gateway, HTTP": by_http})


async def store_hits_ms() -> list[float]:
    """The encode stage of images that were encoded before."""
    hits = []
    async with OmniClient(_address(0)) as client:
        for seed in track(range(NUM_IMAGES), "images seen before", console=console):
            message = user(image(_photo(seed)), QUESTION)
            for _ in range(2):
                finished = await _finished(client.chat([message], ONE_TOKEN))
            (item,) = finished.receipt.items
            assert item.source == gateway_pb2.EMBEDDING_SOURCE_STORE, "the second time it is kept"
            hits.append(finished.receipt.encode_ms)
    return hits


async def streams(gateway: GatewayProcess, *, stalled: int) -> dict[str, float]:
    """Many streams at once, some of whose readers stop after the first token: rate, processor time, memory."""
    sampling = decoder_pb2.SamplingParams(max_tokens=STREAM_TOKENS, ignore_eos=True)
    never = asyncio.Event()
    async with OmniClient(f"127.0.0.1:{gateway.port}") as client:

        async def stall() -> None:
            async for _ in client.chat([user(QUESTION)], decoder_pb2.SamplingParams(max_tokens=1_000_000)):
                await never.wait()

        stalling = [asyncio.create_task(stall()) for _ in range(stalled)]
        await asyncio.sleep(1)
        started_s, cpu_s = time.perf_counter(), gateway.cpu_s()
        async with asyncio.TaskGroup() as group:
            for _ in range(NUM_STREAMS - stalled):
                group.create_task(_finished(client.chat([user(QUESTION)], sampling)))
        num_tokens = (NUM_STREAMS - stalled) * STREAM_TOKENS
        figures = {
            "tokens_per_s": num_tokens / (time.perf_counter() - started_s),
            "tokens_per_cpu_s": num_tokens / (gateway.cpu_s() - cpu_s),
            "memory_mib": gateway.memory_bytes() / 2**20,
        }
        for task in stalling:
            task.cancel()
        await asyncio.gather(*stalling, return_exceptions=True)
    return figures


async def loads() -> tuple[dict[str, float], dict[str, float]]:
    """Without and with a stalled reader; medians of three of each."""
    with gateway_before_a_source() as gateway:
        await streams(gateway, stalled=0)
        free = [await streams(gateway, stalled=0) for _ in range(3)]
        held = [await streams(gateway, stalled=1) for _ in range(3)]
    return _medians(free), _medians(held)


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _photo(seed: int) -> bytes:
    """An image of 448 x 448 like no other: noise as JPEG, about 100 KiB."""
    noise = Image.frombytes("RGB", (448, 448), random.Random(seed).randbytes(448 * 448 * 3))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=60)
    return file.getvalue()


async def _finished(events: AsyncIterator[gateway_pb2.ChatResponse]) -> gateway_pb2.ChatFinished:
    async for event in events:
        last = event
    return last.finished


def _address(offset: int) -> str:
    return f"127.0.0.1:{PORT + offset}"


def report(
    ways: dict[str, list[float]], hits: list[float], free: dict[str, float], held: dict[str, float], burst: str
) -> str:
    """The section of docs/measurements.md."""
    lines = [
        "## What the gateway adds",
        "",
        f"`make bench-gateway`, {date.today()}, {machine()}; models simulated with no latency.",
        "",
        f"To the first token ({NUM_REQUESTS} requests by each way, in turn, one at a time):",
        "",
        "| way | p50 ms | p99 ms |",
        "|---|---|---|",
        *(f"| {name} | {percentile(times, 50):.2f} | {percentile(times, 99):.2f} |" for name, times in ways.items()),
        "",
        f"An image of 100 KiB seen before: the encode stage takes {statistics.median(hits):.1f} ms "
        f"(p99 {percentile(hits, 99):.1f}).",
        "",
        f"{NUM_STREAMS} streams of {STREAM_TOKENS} tokens, one token a message, from a source that costs nothing:",
        "",
        "| readers | tokens/s | tokens per second of the gateway's processor time | gateway's memory MiB |",
        "|---|---|---|---|",
        *(
            f"| {name} | {f['tokens_per_s']:.0f} | {f['tokens_per_cpu_s']:.0f} | {f['memory_mib']:.0f} |"
            for name, f in (("all read", free), ("one stalled", held))
        ),
        "",
        "Source, gateway and client share two cores; the second column is what a core of its own would carry.",
        "",
        "A burst of images beside text, with lanes and with one queue for all (simulated services):",
        "",
        burst,
    ]
    return "\n".join(lines)


def ratios(
    ways: dict[str, list[float]], hits: list[float], free: dict[str, float], held: dict[str, float]
) -> dict[str, float]:
    """What the bars are on."""
    direct = ways["decoder front"]
    added = {
        f"added_ms_p{p}_{name}": round(percentile(ways[way], p) - percentile(direct, p), 3)
        for name, way in (("grpc", "gateway, gRPC"), ("http", "gateway, HTTP"))
        for p in (50, 99)
    }
    return added | {
        "store_hit_encode_ms_p50": round(statistics.median(hits), 2),
        "tokens_per_cpu_s": round(free["tokens_per_cpu_s"]),
        "tokens_per_s_with_a_stalled_reader": round(held["tokens_per_s"] / free["tokens_per_s"], 3),
        "memory_with_a_stalled_reader": round(held["memory_mib"] / free["memory_mib"], 3),
    }


def main() -> None:
    """Measures, writes the section, prints the ratios."""
    try:
        trichord("up", "--name", NAME, "--port", str(PORT), "--simulation", str(INSTANT))
        ways = asyncio.run(latency())
        hits = asyncio.run(store_hits_ms())
    finally:
        trichord("down", "--name", NAME)
    free, held = asyncio.run(loads())
    bursts = asyncio.run(admission.measure())
    section = report(ways, hits, free, held, admission.table(bursts))
    put("bench-gateway", section)
    print(section)
    print("BENCH", json.dumps(ratios(ways, hits, free, held) | admission.ratios(bursts)))


if __name__ == "__main__":
    main()
