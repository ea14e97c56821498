"""Chats as a whole: how many, how they ended, how long they took, how many tokens. Observed once for each, at its end.

The first three are OpenTelemetry's for servers of generative AI, in its buckets
(https://github.com/open-telemetry/semantic-conventions-genai).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from gateway import conversation
from gateway.meter import Meter
from gateway.receipt import Receipt
from trichord.errors import (
    DeadlineError,
    FingerprintError,
    InternalError,
    OverloadedError,
    QuotaError,
    TrichordError,
    UnavailableError,
)
from trichord.telemetry import spans
from trichord.telemetry.exemplars import exemplar
from trichord.v1 import gateway_pb2, tensor_pb2

_LABELS = ["gen_ai_operation_name", "modalities"]

DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "Seconds that chats took, from their arrival to their last token or their failure.",
    [*_LABELS, "error_type"],
    buckets=[0.01 * 2**doublings for doublings in range(14)],
)
TIME_TO_FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "Seconds from a chat's arrival to its first token, for those that had one.",
    _LABELS,
    buckets=(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)
TIME_PER_OUTPUT_TOKEN = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Seconds for a token after the first, a mean of each finished chat.",
    _LABELS,
    buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5),
)
REQUESTS = Counter(
    "trichord_requests",
    "Chats by how they ended: ok; refused, the request or its tenant's budget being at fault; shed for lack of room; "
    "failed; cancelled by the client, or by a shutdown; expired at the deadline.",
    ["face", "outcome", "modalities"],
)
IN_PROGRESS = Gauge("trichord_requests_in_progress", "Chats in progress.", ["face"])
TOKENS = Counter(
    "trichord_tokens", "Tokens of prompts (input) and answers (output), broken off or not.", ["direction", "modality"]
)
CACHED_TOKENS = Counter("trichord_cached_tokens", "Tokens of prompts that a decoder found in its prefix cache.")

Face = Literal["grpc", "http"]
"""Where requests come in."""

_IN_PROGRESS = {face: IN_PROGRESS.labels(face) for face in get_args(Face)}
_INPUT_TEXT, _INPUT_IMAGE, _INPUT_AUDIO = (TOKENS.labels("input", modality) for modality in ("text", "image", "audio"))
_OUTPUT_TEXT = TOKENS.labels("output", "text")

Outcome = Literal["ok", "refused", "shed", "failed", "cancelled", "expired"]

Modalities = Literal["text", "text+image", "text+audio", "text+image+audio"]

for _values in product(get_args(Face), get_args(Outcome), get_args(Modalities)):
    REQUESTS.labels(*_values)  # there from the start: what appears as 1 has not risen, for Prometheus


class Observed:
    """A chat in progress, and where the figures of its metrics are."""

    def __init__(self, request: gateway_pb2.ChatRequest, receipt: Receipt) -> None:
        self.modalities = conversation.modalities(request)
        """What it brings beside text; of media by handle, known later."""
        self.meter: Meter | None = None
        """None until it is let in."""
        self._receipt = receipt

    def ended(self, face: Face, error: BaseException | None) -> None:
        """Notes all of it. Who closes an answer that has finished does not cancel it."""
        label = modalities(self.modalities)
        if self._receipt.is_finished:
            _count(face, label, self._receipt.stages.total_ms / 1e3, None)
        else:
            _count(face, label, self._receipt.elapsed_ms() / 1e3, error)
        self._note_speed(label)
        if self.meter:
            _note_tokens(self.meter)

    def _note_speed(self, label: str) -> None:
        stages, num_tokens = self._receipt.stages, self.meter.num_output_tokens if self.meter else 0
        if stages.first_token_ms:
            TIME_TO_FIRST_TOKEN.labels("chat", label).observe(stages.first_token_ms / 1e3, exemplar())
        if self._receipt.is_finished and num_tokens > 1:
            per_token_s = (stages.total_ms - stages.first_token_ms) / 1e3 / (num_tokens - 1)
            TIME_PER_OUTPUT_TOKEN.labels("chat", label).observe(per_token_s, exemplar())


@contextmanager
def observed(face: Face, request: gateway_pb2.ChatRequest, receipt: Receipt) -> Iterator[Observed]:
    """Around a chat: counts it as in progress, and notes how it ended."""
    chat, failure = Observed(request, receipt), None
    with _IN_PROGRESS[face].track_inprogress():
        try:
            yield chat
        except BaseException as error:
            failure = error
            raise
        finally:
            chat.ended(face, failure)


@contextmanager
def refusals(face: Face, request: gateway_pb2.ChatRequest) -> Iterator[None]:
    """Around what comes before a chat: what fails here is a chat that failed, what goes well is not yet one."""
    began_s = time.perf_counter()
    try:
        yield
    except BaseException as error:
        _count(face, modalities(conversation.modalities(request)), time.perf_counter() - began_s, error)
        raise


def modalities(brought: Collection[tensor_pb2.Modality]) -> str:
    """The label of chats that bring these beside text: one of four."""
    has_image, has_audio = tensor_pb2.MODALITY_IMAGE in brought, tensor_pb2.MODALITY_AUDIO in brought
    return "text" + "+image" * has_image + "+audio" * has_audio


def outcome(error: BaseException | None) -> Outcome:
    """How a chat ended."""
    match error:
        case None:
            return "ok"
        case DeadlineError():
            return "expired"
        case OverloadedError() if not isinstance(error, QuotaError):
            return "shed"
        case UnavailableError() | FingerprintError() | InternalError():
            return "failed"
        case TrichordError():
            return "refused"
        case Exception():
            return "failed"
    return "cancelled"


def _count(face: Face, label: str, seconds: float, error: BaseException | None) -> None:
    REQUESTS.labels(face, outcome(error), label).inc()
    error_type = spans.error_type(error) if error else ""
    DURATION.labels("chat", label, error_type).observe(seconds, exemplar())


def _note_tokens(meter: Meter) -> None:
    prompt = meter.prompt_tokens
    _INPUT_TEXT.inc(prompt.text)
    _INPUT_IMAGE.inc(prompt.image)
    _INPUT_AUDIO.inc(prompt.audio)
    _OUTPUT_TEXT.inc(meter.num_output_tokens)
    CACHED_TOKENS.inc(meter.cached_tokens)
