"""How replays look to people: a table, a sentence about equals, and progress while they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich import box, progress
from rich.console import Console
from rich.table import Table

from autoscaler.replay.contest import Entry
from autoscaler.replay.outcome import Figures

_HEADS = ("kept %", "p50 s", "p99 s", "GPU-h", "starts", "most", "shed")

_CAPTION = (
    "Kept: requests within the SLO; those of text only are the decoder's. p50, p99: time to the first token. Starts: "
    "replicas started later than at the beginning. Most: replicas at once."
)


class Progress:
    """One bar for each replay, on stderr."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._bars = progress.Progress(console=Console(stderr=True))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def of(self, title: str) -> Callable[[float], None]:
        """A new bar; to be called with the trace's time."""
        task = self._bars.add_task(title, total=self._duration_s)
        return lambda time_s: self._bars.update(task, completed=min(time_s, self._duration_s))


def table(entries: Sequence[Entry]) -> Table:
    """A row for each modality of each run, and one for all."""
    result = Table(box=box.SIMPLE_HEAD, title="Simulated", caption=_CAPTION, collapse_padding=True, pad_edge=False)
    result.add_column("scaler", no_wrap=True)
    result.add_column("", no_wrap=True)
    for head in _HEADS:
        result.add_column(head, justify="right", no_wrap=True)
    for entry in entries:
        for name, row in entry.rows.items():
            title = f"{entry.scaler} {entry.knob:g}" if name == "vision" else ""
            result.add_row(
                title, name, *_cells(row), end_section=name == "all", style="bold" if name == "all" else None
            )
    return result


def summary_lines(summary: Mapping[str, Any]) -> str:
    """What ``contest.summary`` found, a line each."""
    lines = []
    for name, hours in summary["gpu_hours_at_attainment"].items():
        text = "not within this sweep" if hours is None else f"{hours:.2f} GPU-hours"
        lines.append(f"at {100 * summary['attainment']:g} % kept, {name}: {text}")
    for name, kept in summary["attainment_at_gpu_hours"].items():
        text = "not within this sweep" if kept is None else f"{100 * kept:.2f} %"
        lines.append(f"at {summary['gpu_hours']:.2f} GPU-hours, {name}: {text} kept")
    return "\n".join(lines)


def sizes_line(sizes: Mapping[Any, int]) -> str:
    """Replicas of each, as people say it."""
    return ", ".join(f"{count} {modality}" for modality, count in sizes.items())


def _cells(row: Figures) -> list[str]:
    ttft = ["-" if value is None else f"{value:.2f}" for value in (row.ttft_p50_s, row.ttft_p99_s)]
    counts = [str(count) for count in (row.cold_starts, row.max_replicas, row.shed)]
    return [f"{100 * row.attainment:.2f}", *ttft, f"{row.gpu_hours:.2f}", *counts]
