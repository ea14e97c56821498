"""What the numbers and the stop strings of a request's sampling must be, whatever model answers: as decoder.proto says.

Pure. Knows no vocabulary and no context.
"""

from __future__ import annotations

from collections.abc import Callable

from trichord.errors import RequestError
from trichord.v1 import decoder_pb2

MAX_STOPS = 16
MAX_STOP_BYTES = 256

_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "max_tokens": (lambda value: value >= 1, "at least 1"),
    "temperature": (lambda value: 0 <= value <= 5, "from 0 to 5"),
    "top_k": (lambda value: value >= 0, "at least 0"),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "min_p": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    "repetition_penalty": (lambda value: 0.1 <= value <= 10, "from 0.1 to 10"),
    "presence_penalty": (lambda value: -2 <= value <= 2, "from -2 to 2"),
    "frequency_penalty": (lambda value: -2 <= value <= 2, "from -2 to 2"),
    "seed": (lambda value: value < 1 << 63, "below 2^63"),
    "min_tokens": (lambda value: value >= 0, "at least 0"),
    "logprobs": (lambda value: 0 <= value <= 20, "from 0 to 20"),
    "n": (lambda value: 1 <= value <= 8, "from 1 to 8"),
}
"""What each number must be. Comparisons with NaN are false, so NaN is outside every range."""


def check(params: decoder_pb2.SamplingParams) -> None:
    """Raises RequestError naming ``sampling.<field>``, the first that is out of range."""
    for name, (is_valid, meaning) in _RANGES.items():
        if params.HasField(name) and not is_valid(getattr(params, name)):
            raise RequestError(f"{name} is {meaning}.", field=f"sampling.{name}")
    if len(params.stop) > MAX_STOPS:
        raise RequestError(f"There are at most {MAX_STOPS} stop strings.", field="sampling.stop")
    for index, stop in enumerate(params.stop):
        if not 1 <= len(stop.encode()) <= MAX_STOP_BYTES:
            message = f"A stop string has 1 to {MAX_STOP_BYTES} bytes."
            raise RequestError(message, field=f"sampling.stop[{index}]")
