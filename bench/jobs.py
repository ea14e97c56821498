"""A job of 1 000 mixed items whose worker is killed twice, and what live requests notice of it.

Starts a local cluster whose models only wait, with its queue and its worker, and sends text at a steady rate all along:
first alone, then while the job is worked off, then alone again. Counts results and usage events, which must be those of
the results. Writes its section of docs/measurements.md. Knows nothing of how jobs are kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

from bench.cluster import machine, trichord
from bench.measurements import put
from bench.media import new_sound
from bench.streams import percentile
from bench.waking_load import Load, one_tile
from local_cluster.jobs import queue_address
from local_cluster.state import RunDirectory
from trichord.client import OmniClient, image, user
from trichord.home import home
from trichord.jobs import topic_contents
from trichord.jobs.message import decode
from trichord.jobs.settings import JobsSettings
from trichord.jobs.topics import Topics
from trichord.v1 import decoder_pb2, gateway_pb2, jobs_pb2

NAME, PORT = "bench-jobs", 7660
NUM_ITEMS, NUM_TOKENS = 1000, 16
KILL_AT = (NUM_ITEMS // 3, 2 * NUM_ITEMS // 3)
TEXTS_PER_S, QUIET_S = 8.0, 40.0
CONCURRENCY = 8
MAX_EVENTS = 100_000
SETTINGS = {
    "TRICHORD_WORKER_CONCURRENCY": str(CONCURRENCY),
    # The embedded broker lets a restarted worker in sooner.
    "TRICHORD_JOBS_SESSION_TIMEOUT_S": "4",
}
PROFILE = Path(__file__).parent / "waking.yaml"


class Run(NamedTuple):
    """All that was seen."""

    quiet_ms: Sequence[float]
    """Time to first token of live text while there was no job."""
    batch_ms: Sequence[float]
    """While there was one."""
    num_failed_live: int
    job: jobs_pb2.Job
    results: Sequence[jobs_pb2.ItemResult]
    events: Sequence[jobs_pb2.UsageEvent]
    """Of the job, those included that were sent twice."""
    job_s: float


def mixed_items() -> list[jobs_pb2.JobItem]:
    """Half of them text, a quarter with an image, a quarter with a sound; none alike."""
    sampling = decoder_pb2.SamplingParams(max_tokens=NUM_TOKENS, ignore_eos=True)
    items = []
    for index in range(NUM_ITEMS):
        medium = [] if index % 2 else [image(one_tile(index)) if index % 4 else new_sound()]
        message = user(*medium, f"Describe number {index}.")
        request = gateway_pb2.ChatRequest(messages=[message], sampling=sampling)
        items.append(jobs_pb2.JobItem(custom_id=f"item-{index}", request=request))
    return items


async def measure() -> Run:
    """Quiet, the job, and quiet again."""
    items = await asyncio.to_thread(mixed_items)
    async with OmniClient(f"127.0.0.1:{PORT}") as client:
        load = Load(client, time.monotonic())
        texts = asyncio.create_task(load.texts(TEXTS_PER_S))
        await asyncio.sleep(QUIET_S)
        begin_s = load.now_s()
        job = await _worked_off(client, items)
        end_s = load.now_s()
        await asyncio.sleep(QUIET_S)
        texts.cancel()
        await asyncio.gather(texts, return_exceptions=True)
        await load.settled()
        results = [result async for result in client.jobs.results(job.id)]
    answered = [request for request in load.requests if not request.failed]
    return Run(
        quiet_ms=[one.first_token_ms for one in answered if 1.0 <= one.sent_s < begin_s or one.sent_s >= end_s],
        batch_ms=[one.first_token_ms for one in answered if begin_s <= one.sent_s < end_s],
        num_failed_live=len(load.requests) - len(answered),
        job=job,
        results=results,
        events=[event for event in await asyncio.to_thread(usage_events) if event.job_id == job.id],
        job_s=end_s - begin_s,
    )


async def _worked_off(client: OmniClient, items: Sequence[jobs_pb2.JobItem]) -> jobs_pb2.Job:
    kills = list(KILL_AT)
    job = submitted = await client.jobs.submit(items)
    async for job in client.jobs.watch(submitted.id):
        if kills and job.counts.completed >= kills[0]:
            kills.pop(0)
            await asyncio.to_thread(kill_worker)
    return job


def kill_worker() -> None:
    """As a machine that fails would; the cluster's supervisor starts the next."""
    state = RunDirectory(home(), NAME).read()
    assert state, "the cluster runs"
    (worker,) = [process for process in state.processes if process.name == "job-worker"]
    assert worker.id, "it runs"
    os.kill(worker.id.pid, signal.SIGKILL)


def usage_events() -> list[jobs_pb2.UsageEvent]:
    """All that were ever sent, in no order."""
    settings = JobsSettings(kafka=queue_address(PORT))  # type: ignore[call-arg]  # the others have defaults
    records = topic_contents.newest(settings, Topics(settings).usage, MAX_EVENTS)
    bodies = [decode(record.value, record.headers).body for record in records]
    return [body for body in bodies if isinstance(body, jobs_pb2.UsageEvent)]


def figures(run: Run) -> dict[str, float]:
    """What is told of a run."""
    counts = run.job.counts
    told: Mapping[str, bytes] = {event.request_id: _exact(event.usage) for event in run.events}
    taken = {result.request_id: _exact(result.finished.usage) for result in run.results if result.texts}
    return {
        "items": counts.total,
        "results": len({result.index for result in run.results}),
        "completed": counts.completed,
        "failed": counts.failed,
        "workers_killed": len(KILL_AT),
        "usage_differences": len(told.items() ^ taken.items()),
        "usage_events_sent_again": len(run.events) - len(told),
        "items_per_s": round(counts.total / run.job_s, 1),
        "live_failed": run.num_failed_live,
        "live_p50_quiet_ms": round(percentile(run.quiet_ms, 50), 1),
        "live_p50_batch_ms": round(percentile(run.batch_ms, 50), 1),
        "live_p99_quiet_ms": round(percentile(run.quiet_ms, 99), 1),
        "live_p99_batch_ms": round(percentile(run.batch_ms, 99), 1),
        "live_p99_ratio": round(percentile(run.batch_ms, 99) / percentile(run.quiet_ms, 99), 2),
    }


def _exact(usage: gateway_pb2.Usage) -> bytes:
    return usage.SerializeToString(deterministic=True)


def report(told: Mapping[str, float]) -> str:
    """The section of docs/measurements.md."""
    return "\n".join(
        [
            "## A job of 1 000 items behind live requests, its worker killed twice",
            "",
            f"`make bench-jobs`, {date.today()}: a local cluster whose models only wait (`bench/waking.yaml`), on",
            f"{machine()}. Text comes {TEXTS_PER_S:.0f} times a second all along. The job's items are half text, a",
            f"quarter images, a quarter sounds; a worker has {CONCURRENCY} in progress, and is killed (SIGKILL) twice.",
            "",
            "| | without the job | with it |",
            "|---|---|---|",
            f"| live text's first token p50, ms | {told['live_p50_quiet_ms']} | {told['live_p50_batch_ms']} |",
            f"| live text's first token p99, ms | {told['live_p99_quiet_ms']} | {told['live_p99_batch_ms']} |",
            "",
            f"p99 is {told['live_p99_ratio']} times that without; {told['live_failed']:.0f} live requests failed. Of"
            f" {told['items']:.0f} items {told['results']:.0f} have a",
            f"result, {told['completed']:.0f} completed and {told['failed']:.0f} failed,"
            f" {told['items_per_s']} a second with both restarts. The usage events",
            f"differ from the results in {told['usage_differences']:.0f} requests;"
            f" {told['usage_events_sent_again']:.0f} were sent twice, with the same id.",
        ]
    )


def main() -> None:
    """Measures, writes the section, prints the figures."""
    os.environ.update(SETTINGS)
    try:
        simulation = ["--preset", "megrez-3b-omni", "--simulation", str(PROFILE)]
        trichord("up", "--name", NAME, "--port", str(PORT), "--jobs", *simulation)
        run = asyncio.run(measure())
    finally:
        trichord("down", "--name", NAME)
    told = figures(run)
    put("bench-jobs", report(told))
    print(report(told))
    print("BENCH", json.dumps(told))


if __name__ == "__main__":
    main()
