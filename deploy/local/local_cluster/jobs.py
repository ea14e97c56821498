"""What a cluster that takes jobs has beside the others: a queue, a folder of what is kept, and a worker.

The broker keeps messages in memory and lets everyone on loopback read and write them; jobs, results and usage events
that wait are in the folder, and outlive it. A queue or a store that a person named is used instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from local_cluster.process import Process, address, service

KAFKA_SETTING, STORE_SETTING, SPOOL_SETTING = "TRICHORD_JOBS_KAFKA", "TRICHORD_JOBS_STORE", "TRICHORD_USAGE_SPOOL"
SESSION_SETTING, INSTANCE_SETTING = "TRICHORD_JOBS_SESSION_TIMEOUT_S", "TRICHORD_WORKER_INSTANCE"
"""Set by a person, each is passed on as it is."""

_SESSION_TIMEOUT_S = 4
"""The embedded broker takes half of it to let the first worker in, and all of it to notice that one was killed."""

# Offsets to the cluster's port.
_BROKER_PORT, _WORKER_PORT, _WORKER_METRICS_PORT = 10, 19, 20
_BROKER_START_S, _BROKER_STOP_S = 20.0, 1.0


def queue_address(port: int) -> str:
    """Where a cluster that nobody named a queue for has its own."""
    return address(port + _BROKER_PORT)


def objects(folder: Path) -> str:
    """Where one that nobody named a store for keeps jobs, in its folder of them."""
    return str(folder / "objects")


@dataclass(frozen=True)
class Jobs:
    """What queue, store and worker are started with."""

    program: Path | None
    """The broker's; None if a person named a queue."""
    folder: Path
    """For what outlives a run of the cluster."""
    named: frozenset[str] = frozenset()
    """Settings that a person made."""

    @classmethod
    def of(cls, environment: Mapping[str, str], folder: Path, program: Path | None) -> Self:
        """Those of a cluster that is started in this environment."""
        settings = (KAFKA_SETTING, STORE_SETTING, SPOOL_SETTING, SESSION_SETTING, INSTANCE_SETTING)
        return cls(program, folder, frozenset(name for name in settings if environment.get(name)))

    def worker_settings(self, port: int) -> dict[str, str]:
        """What the worker of the cluster at ``port`` is told of them."""
        # The embedded broker lets a member that has a name of its own in again after a minute only.
        return self._shared(port) | self._unless_named({INSTANCE_SETTING: ""})

    def gateway_settings(self, port: int) -> dict[str, str]:
        """What its gateway is told: the same queue and store, and where its usage events wait."""
        return self._shared(port) | self._unless_named({SPOOL_SETTING: str(self.folder / "usage")})

    def _shared(self, port: int) -> dict[str, str]:
        own = {KAFKA_SETTING: queue_address(port), STORE_SETTING: objects(self.folder)}
        if self.program:
            own[SESSION_SETTING] = str(_SESSION_TIMEOUT_S)
        return self._unless_named(own)

    def _unless_named(self, own: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in own.items() if name not in self.named}


def broker(port: int, program: Path) -> Process:
    """The queue of the cluster at ``port``."""
    url = f"tcp://{queue_address(port)}"
    options = (f"--listener-url={url}", f"--advertised-listener-url={url}", "--storage-engine=memory://tansu/")
    return Process(
        name="broker",
        title="the queue",
        argv=(str(program), "broker", *options),
        env={},
        port=port + _BROKER_PORT,
        readiness="kafka",
        tier=0,
        start_timeout_s=_BROKER_START_S,
        stop_timeout_s=_BROKER_STOP_S,
    )


def worker(port: int, jobs: Jobs) -> Process:
    """What works jobs off: comes and goes with the gateway, and waits while that is away.

    It need only be there to be ready: to be given its share of a new queue takes it half a minute.
    """
    listens = port + _WORKER_PORT, port + _WORKER_METRICS_PORT
    process = service("job-worker", "job_worker", "WORKER", *listens, {"GATEWAY": address(port)}, 2)
    return replace(process, readiness="alive", env={**process.env, **jobs.worker_settings(port)})
