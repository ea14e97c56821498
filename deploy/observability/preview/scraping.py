"""A Prometheus that scrapes a local cluster as one in Kubernetes scrapes the chart's: jobs are called as services.

Replicas come and go, so the targets are a file that is written anew for as long as the load lasts.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import yaml

from local_cluster.state import ProcessState, RunDirectory
from trichord.errors import ClusterError
from trichord.home import home

INTERVAL_S = 5
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
LOOK_S = 1.0
RULES = Path(__file__).parents[2] / "helm" / "trichord" / "files" / "rules.yaml"


@contextmanager
def scraping(folder: Path, address: str) -> Iterator[str]:
    """The URL of a Prometheus that keeps everything in ``folder``. Raises ClusterError if it does not start."""
    program = shutil.which("prometheus")
    if program is None:
        raise ClusterError("prometheus is not installed: make system installs it.")
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(configuration(folder)))
    told = (folder / "prometheus.log").open("wb")
    arguments = [
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
    ]
    with told, subprocess.Popen([program, *arguments], stderr=told, start_new_session=True) as process:  # noqa: S603
        try:
            _ready(f"http://{address}", process)
            yield f"http://{address}"
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def configuration(folder: Path) -> dict[str, object]:
    """Our rules, and the targets of ``keep_targets``."""
    targets = {"files": [str(folder / "targets.json")], "refresh_interval": f"{INTERVAL_S}s"}
    return {
        "global": {"scrape_interval": f"{INTERVAL_S}s", "evaluation_interval": f"{INTERVAL_S}s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "trichord", "file_sd_configs": [targets]}],
    }


async def keep_targets(cluster: str, folder: Path) -> None:
    """Until cancelled, writes down whom there is to scrape."""
    directory, file = RunDirectory(home(), cluster), folder / "targets.json"
    while True:
        state = directory.read()
        scratch = file.with_suffix(".new")
        scratch.write_text(json.dumps(targets(state.processes if state else [])))
        scratch.replace(file)
        await asyncio.sleep(LOOK_S)


def targets(processes: Iterable[ProcessState]) -> list[dict[str, object]]:
    """Every page of a process of ours; a Triton's is part of its front's."""
    return [
        {
            "targets": [f"127.0.0.1:{process.metrics_port}"],
            "labels": {"job": re.sub(r"-\d+$", "", process.name)},
        }
        for process in processes
        if process.metrics_port and process.phase == "ready" and not process.name.endswith("-triton")
    ]


def _ready(url: str, process: subprocess.Popen[bytes]) -> None:
    given_up_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < given_up_s and process.poll() is None:
        try:
            if httpx2.get(f"{url}/-/ready", trust_env=False).is_success:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)
    raise ClusterError("Prometheus does not start; is its port taken, or a rule wrong?")
