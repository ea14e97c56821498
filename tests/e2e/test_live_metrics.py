"""What dashboards and rules ask for is told by the pages of a cluster of real processes, every name of it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import trichord
from tests.e2e.media import png, wav
from tests.e2e.test_waking import SleepyCluster, kinds, running
from tests.k8s import promql
from trichord.client import audio, image

KEEP = "modalities: {vision: {idle_s: 600.0}, audio: {idle_s: 600.0}}\n"
"""Rules for an autoscaler that wakes an encoder and does not let it sleep again."""
ONLY_WITH_A_GPU = {"nv_gpu_memory_used_bytes", "nv_gpu_utilization"}
SERVICES = {"gateway", "vision-encoder", "audio-encoder", "llm-decoder", "autoscaler", "job-worker"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SleepyCluster]:
    folder = tmp_path_factory.mktemp("live-metrics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRICHORD_JOBS_STORE", str(folder / "objects"))
        patch.setenv("TRICHORD_USAGE_SPOOL", str(folder / "usage"))
        with running("test-live-metrics", KEEP, folder, "--jobs") as started:
            yield started


def pages(cluster: SleepyCluster) -> dict[str, set[str]]:
    """By service, the families that its page tells of, under the names that PromQL knows their series by."""
    status = json.loads(trichord("status", "--name", cluster.name, "--json").stdout)
    return {
        process["name"]: families(int(process["metrics_port"]))
        for process in status["processes"]
        if process["metrics_port"] and not process["name"].endswith("-triton")
    }


def families(port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        text = response.read().decode()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(text)
    }


async def test_every_metric_that_is_asked_for_is_told(cluster: SleepyCluster) -> None:
    answer = await cluster.ask(image(png(60, 60, seed=1)), audio(wav(1.0)), "What is this?")
    assert kinds(answer)[-1] == "finished"
    told = pages(cluster)
    assert set(told) == SERVICES
    assert len(promql.metrics()) > 50
    assert promql.metrics() - set().union(*told.values()) <= ONLY_WITH_A_GPU
