"""The Azure LLM inference traces of 2023 as arrivals: CSV with TIMESTAMP, ContextTokens, GeneratedTokens.

Azure Public Dataset, CC-BY; Patel et al., "Splitwise: Efficient generative LLM inference using phase splitting", ISCA
2024. They hold no media: ``mix`` draws some.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from autoscaler.replay.trace import MAX_LINE_CHARS, Arrival, bounded_lines
from autoscaler.replay.traces import diurnal
from trichord.errors import SettingsError

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"

_JITTER_S = 30.0


def is_azure(path: Path) -> bool:
    """Whether the file begins as one of those traces. Raises SettingsError if it cannot be read."""
    try:
        with path.open(encoding="ascii", errors="replace", newline="") as file:
            return file.readline(MAX_LINE_CHARS).rstrip("\r\n") == HEADER
    except OSError as error:
        raise SettingsError(f"Trace {path.name} cannot be read: {error.strerror}.") from error


def read(path: Path) -> list[Arrival]:
    """Its requests, text only, in order of time, the first at 0. Raises SettingsError that names the line."""
    try:
        with path.open(encoding="ascii", newline="") as file:
            file.readline(MAX_LINE_CHARS)
            stamped = [_stamped(line, number) for number, line in enumerate(bounded_lines(file), 2)]
    except UnicodeError as error:
        raise SettingsError(f"Trace {path.name} is not ASCII text.") from error
    if not stamped:
        return []
    stamped.sort(key=lambda row: row[0])
    began = stamped[0][0]
    return [Arrival((at - began).total_seconds(), 0, 0, 0.0, prompt, output) for at, prompt, output in stamped]


def multiplied(arrivals: list[Arrival], copies: int, seed: int) -> list[Arrival]:
    """``copies`` times the load in the same shape: copies of each request are spread over half a minute each way."""
    if not arrivals or copies == 1:
        return arrivals
    end_s, random = arrivals[-1].time_s, np.random.default_rng(seed)
    shifts = random.uniform(-_JITTER_S, _JITTER_S, (len(arrivals), copies - 1))
    spread = [
        arrival._replace(time_s=min(end_s, max(0.0, arrival.time_s + float(shift))))
        for arrival, row in zip(arrivals, shifts, strict=True)
        for shift in row
    ]
    return sorted([*arrivals, *spread])


def a_day_of(hour: list[Arrival], seed: int) -> list[Arrival]:
    """24 such hours one after another, thinned to a day's curve: at noon all of it, at midnight a tenth.

    Prompts, answers and the unrest of the hour are the trace's; that days look like this is assumed. Nothing comes
    between the end of a trace that is shorter than an hour and the next hour.
    """
    random = np.random.default_rng(seed)
    return [
        shifted
        for begin_s in range(0, 86400, 3600)
        for arrival, draw in zip(hour, random.random(len(hour)), strict=True)
        if draw < diurnal((shifted := arrival._replace(time_s=begin_s + min(arrival.time_s, 3599.0))).time_s)
    ]


def _stamped(line: str, number: int) -> tuple[datetime, int, int]:
    try:
        stamp, prompt, output = line.split(",")
        row = datetime.fromisoformat(stamp[:26]), int(prompt), int(output)
    except ValueError as error:
        raise SettingsError(f"Line {number} of the trace is not a time and two counts of tokens.") from error
    if not (1 <= row[1] <= 1_000_000 and 1 <= row[2] <= 1_000_000):
        raise SettingsError(f"Line {number} of the trace: counts of tokens are from 1 to 1000000.")
    return row
