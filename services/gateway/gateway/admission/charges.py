"""Requests and usage of the contract in admission's terms: what to reserve, what to settle, who goes first.

Pure. Guesses before anything is decoded or tokenized; settling puts it right.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway import guesses
from gateway.admission.cost import Cost
from gateway.admission.lanes import LaneName
from gateway.admission.priority_queue import Priority
from gateway.conversation import Item
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2

BYTES_PER_TOKEN = 4
"""Of text: English has about four letters to a token."""
DEFAULT_MAX_TOKENS = 1024
"""What the contract lets an answer have if the request does not say (SamplingParams.max_tokens)."""
MAX_ANSWERS = 8
"""What the contract lets a request draw (SamplingParams.n)."""
TOKENS_PER_AUDIO_S = 25
"""Rows of the reference model: 1500 frames of 30 s, pooled by two."""


def estimate(
    request: gateway_pb2.ChatRequest, items: Sequence[Item], model: decoder_pb2.DecoderServiceGetModelResponse
) -> Cost:
    """What a chat may cost: its text and media by their bytes, and all the tokens that it may generate."""
    parts = [part for message in request.messages for part in message.parts]
    text_tokens = sum(len(part.text.encode()) // BYTES_PER_TOKEN + 1 for part in parts)
    brought_rows = sum(part.embedding.values.shape[0] for part in parts if part.embedding.values.shape)
    media = estimate_media(items)
    media_tokens = media.tiles * model.tokens_per_tile + media.audio_ms * TOKENS_PER_AUDIO_S // 1000
    answer_tokens = min(max(0, request.sampling.max_tokens) or DEFAULT_MAX_TOKENS, model.context_tokens)
    answers = min(max(1, request.sampling.n), MAX_ANSWERS)
    return media._replace(tokens=text_tokens + max(0, brought_rows) + media_tokens + answers * answer_tokens)


def estimate_media(items: Sequence[Item]) -> Cost:
    """What encoding media may cost."""
    tiles = sum(guesses.tiles(len(item.content)) for item in items if item.modality == tensor_pb2.MODALITY_IMAGE)
    audio_ms = sum(guesses.audio_ms(len(item.content)) for item in items if item.modality == tensor_pb2.MODALITY_AUDIO)
    return Cost(tiles=tiles, audio_ms=audio_ms)


def lane(item: Item) -> tuple[LaneName, int]:
    """The lane in which a medium waits for its encoder, and its work there: tiles, or seconds of sound."""
    if item.modality == tensor_pb2.MODALITY_IMAGE:
        return "image", guesses.tiles(len(item.content))
    return "audio", 1 + guesses.audio_ms(len(item.content)) // 1000


def priority(asked: decoder_pb2.Priority, job_id: str) -> Priority:
    """Who goes first; unless it says otherwise, or is a job's, somebody waits for the answer."""
    return Priority.BATCH if job_id or asked == decoder_pb2.PRIORITY_BATCH else Priority.LIVE
