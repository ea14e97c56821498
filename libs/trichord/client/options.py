"""What a chat may be told, as keyword arguments. Types only.

Sampling's names, ranges and defaults are those of SamplingParams in decoder.proto; the decoder checks them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from pydantic import BaseModel

Priority = Literal["live", "batch"]
Degradation = Literal["fail", "wait", "answer_without"]


class Sampling(TypedDict, total=False):
    """How tokens are chosen. None is the same as leaving a name out."""

    max_tokens: int | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    seed: int | None
    stop: str | Sequence[str] | None
    min_tokens: int | None
    ignore_eos: bool | None
    logit_bias: Mapping[int, float] | None
    logprobs: int | None
    n: int | None
    json_object: bool
    """Hold the answer to any JSON object."""
    json_schema: Mapping[str, Any] | type[BaseModel]
    """Hold the answer to a JSON Schema (draft 2020-12), or to that of a pydantic model."""


class ChatOptions(Sampling, total=False):
    """How tokens are chosen, and how the request is treated."""

    model: str
    """As ``model()`` tells; left out: the one served."""
    request_id: str
    """Names the request in logs and traces; left out: the gateway makes one."""
    priority: Priority
    """``batch`` gives way to ``live``, the default."""
    degradation: Degradation
    """What to do when a medium's encoder cannot be reached; left out: ``fail``."""
