"""One child process: started in a process group of its own, its output in a file, watched until ready, ended for good.

Knows nothing of the other processes, and nothing of restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, STDOUT
from pathlib import Path

import structlog

from local_cluster import diagnosis, readiness, shm
from local_cluster.process import Process
from trichord.errors import ClusterError

log = structlog.get_logger(__name__)

_POLL_S = 0.1
_LOG_TAIL_BYTES = 64 * 1024


class Child:
    """A process of the cluster from its start to its end; made by ``start``."""

    def __init__(self, process: Process, popen: asyncio.subprocess.Process, log_file: Path, log_start: int) -> None:
        self.process = process
        self._popen = popen
        self._log_file = log_file
        self._log_start = log_start

    @classmethod
    async def start(cls, process: Process, log_file: Path) -> Child:
        """Starts it; its output is appended to ``log_file``. Raises ClusterError if there is no such program."""
        if process.shm_prefix:
            shm.clean(process.shm_prefix)
        with log_file.open("ab") as output:
            start = output.tell()
            try:
                popen = await asyncio.create_subprocess_exec(
                    *process.argv,
                    env={**os.environ, **process.env},
                    cwd=log_file.parent,
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise ClusterError(f"{process.title} did not start: its program cannot be run.") from error
        if process.niceness:
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PGRP, popen.pid, process.niceness)
        return cls(process, popen, log_file, start)

    @property
    def pid(self) -> int:
        """Its process id, which is its group's too."""
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._popen.returncode

    def reason(self) -> str:
        """Why it ended, or what it last said."""
        with self._log_file.open("rb") as file:
            file.seek(max(self._log_start, self._log_file.stat().st_size - _LOG_TAIL_BYTES))
            return diagnosis.reason(file.read().decode(errors="replace"), self.status)

    async def ended(self) -> None:
        """Waits until it ends."""
        await self._popen.wait()

    async def ready(self) -> None:
        """Waits until it can serve. Raises ClusterError, saying why, if it ends or takes too long."""
        process = self.process
        try:
            async with asyncio.timeout(process.start_timeout_s):
                while self.status is None:
                    if await readiness.is_ready(process.readiness, process.port):
                        return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            raise ClusterError(
                f"{process.title} was not ready after {process.start_timeout_s:.0f} s. "
                f"Read: trichord logs {process.name}"
            ) from error
        raise ClusterError(f"{process.title} did not start: {self.reason()}.")

    async def stop(self, patience_s: float = 0.0) -> None:
        """Asks it to end, insists after its time is up, ``patience_s`` at least, and removes what it left behind."""
        with contextlib.suppress(ProcessLookupError):
            self._popen.terminate()
        try:
            async with asyncio.timeout(max(patience_s, self.process.stop_timeout_s)):
                await self.ended()
        except TimeoutError:
            log.warning("killed: did not end in time", process=self.process.name)
        await self.kill()

    async def kill(self) -> None:
        """Ends it and its group at once, and removes what they left behind."""
        kill_group(self.pid)
        await self.ended()
        if self.process.shm_prefix:
            shm.clean(self.process.shm_prefix)


def kill_group(pid: int) -> None:
    """Kills every process of a group; fine if there is none."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
