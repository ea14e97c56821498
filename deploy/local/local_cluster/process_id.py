"""Which process: its id and the moment it started, because ids are used again."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

# proc(5), /proc/pid/stat: what follows the name in brackets begins with field 3.
_STATE, _START_TICKS = 3 - 3, 22 - 3


class ProcessId(BaseModel):
    """One process, never another that got its id later."""

    model_config = ConfigDict(frozen=True)

    pid: int
    start_ticks: int
    """When it started, in clock ticks since the machine did: a change of the clock does not move it."""

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The process that has this id now; None if there is none, or one that has ended and waits to be reaped."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        return None if fields[_STATE] in "ZX" else cls(pid=pid, start_ticks=int(fields[_START_TICKS]))

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return ProcessId.of(self.pid) == self
