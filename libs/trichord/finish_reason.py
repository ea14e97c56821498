"""Why an answer ended, in the words of logs, spans and metrics."""

from __future__ import annotations

from trichord.v1 import decoder_pb2

_WORDS = {number: name.removeprefix("FINISH_REASON_").lower() for name, number in decoder_pb2.FinishReason.items()}


def word(reason: int) -> str:
    """As ``end_of_turn``; ``unknown`` for a reason that only a newer process knows."""
    return _WORDS.get(reason, "unknown")
