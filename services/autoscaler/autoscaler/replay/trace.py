"""A trace: what arrives when, as a CSV file that people can write by hand.

The header is fixed, every number bounded, times never go back; a line that is wrong is named. Knows nothing of media
but their costs: ``trichord tokens`` tells the tiles of an image.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from trichord.errors import SettingsError

MAX_ARRIVALS = 5_000_000
MAX_LINE_CHARS = 256
TILE_TOKENS = 66
"""Positions of a tile in a prompt: 64 rows and their two wrappers (arXiv 2502.15803, section 3.2)."""
AUDIO_TOKENS_PER_S = 25
"""Positions of a second of sound: 50 frames a second, pooled by two (arXiv 2502.15803, section 3.2)."""


class Arrival(NamedTuple):
    """One request."""

    time_s: float
    """Since the trace began."""
    images: int
    tiles: int
    """Of all images together, at least one each."""
    audio_s: float
    """Seconds of sound; 0 if there is none."""
    prompt_tokens: int
    """Of the text; media come on top."""
    output_tokens: int

    @property
    def positions(self) -> int:
        """Tokens of the prompt with its media."""
        return self.prompt_tokens + TILE_TOKENS * self.tiles + math.ceil(AUDIO_TOKENS_PER_S * self.audio_s)


HEADER = ",".join(Arrival._fields)

_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{0,30})?(e-?[0-9]{1,3})?")

_BOUNDS = {
    "time_s": (0, 366 * 86400),
    "images": (0, 64),
    "tiles": (0, 640),
    "audio_s": (0, 86400),
    "prompt_tokens": (1, 1_000_000),
    "output_tokens": (1, 1_000_000),
}


def read(path: Path) -> list[Arrival]:
    """The arrivals of a file. Raises SettingsError that names the line that is wrong."""
    try:
        with path.open(encoding="ascii", newline="") as file:
            return list(parse(file))
    except OSError as error:
        raise SettingsError(f"Trace {path.name} cannot be read: {error.strerror}.") from error
    except UnicodeError as error:
        raise SettingsError(f"Trace {path.name} is not ASCII text.") from error


def parse(file: TextIO) -> Iterator[Arrival]:
    """The arrivals of an open file, one a line below the header. Raises SettingsError."""
    if file.readline(MAX_LINE_CHARS).rstrip("\r\n") != HEADER:
        raise SettingsError(f"Line 1 of a trace is its header: {HEADER}")
    before = 0.0
    for number, line in enumerate(bounded_lines(file), 2):
        arrival = _arrival(line.split(","), number)
        if arrival.time_s < before:
            raise SettingsError(f"Line {number} of the trace goes back in time.")
        before = arrival.time_s
        yield arrival


def bounded_lines(file: TextIO) -> Iterator[str]:
    """Lines without their ends, none long and not too many. Raises SettingsError."""
    for number in range(2, MAX_ARRIVALS + 2):
        line = file.readline(MAX_LINE_CHARS)
        if not line:
            return
        if len(line) == MAX_LINE_CHARS:
            raise SettingsError(f"Line {number} of the trace is longer than {MAX_LINE_CHARS - 1} characters.")
        yield line.rstrip("\r\n")
    if file.readline(1):
        raise SettingsError(f"A trace has at most {MAX_ARRIVALS} arrivals.")


def write(arrivals: Iterable[Arrival], path: Path) -> None:
    """Writes what ``read`` reads."""
    with path.open("w", encoding="ascii", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Arrival._fields)
        rows.writerows(arrivals)


def _arrival(cells: Sequence[str], number: int) -> Arrival:
    if len(cells) != len(_BOUNDS):
        raise SettingsError(f"Line {number} of the trace has {len(cells)} values, not {len(_BOUNDS)}.")
    values = [_number(cell, name, number) for cell, name in zip(cells, _BOUNDS, strict=True)]
    time_s, images, tiles, audio_s, prompt_tokens, output_tokens = values
    if bool(images) != bool(tiles) or tiles < images:
        raise SettingsError(f"Line {number} of the trace: every image has at least one tile, and no tile is without.")
    return Arrival(time_s, int(images), int(tiles), audio_s, int(prompt_tokens), int(output_tokens))


def _number(cell: str, name: str, number: int) -> float:
    low, high = _BOUNDS[name]
    pattern, kind = (_NUMBER, "a number") if name.endswith("_s") else (_WHOLE, "a whole number")
    value = float(cell) if pattern.fullmatch(cell) else math.nan
    if not low <= value <= high:
        raise SettingsError(f"Line {number} of the trace: {name} is {kind} from {low} to {high}.")
    return value
