"""What a killed Triton leaves behind: regions under /dev/shm, and the backend stubs that still map them.

Both carry the prefix that the server was started with, so only that server's are touched.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
_KILL_TIMEOUT_S = 3.0


def clean(prefix: str) -> int:
    """Kills the stubs and removes the regions whose name begins with ``prefix``; returns how many regions.

    No server with that prefix may be running.
    """
    assert prefix, "an empty prefix would match every region on the machine"
    stubs = [process for process in psutil.process_iter(["cmdline"]) if _uses(process, prefix)]
    for stub in stubs:
        stub.kill()
    psutil.wait_procs(stubs, timeout=_KILL_TIMEOUT_S)
    regions = list(_SHARED_MEMORY.glob(f"{prefix}*"))
    for region in regions:
        region.unlink(missing_ok=True)
    return len(regions)


def _uses(process: psutil.Process, prefix: str) -> bool:
    arguments: list[str] = process.info["cmdline"] or []
    return any(argument.startswith(prefix) for argument in arguments[1:])
