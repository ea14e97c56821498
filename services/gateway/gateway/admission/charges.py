"""Requests and usage of the contract in admission's terms: what to reserve, what to settle, who goes first.

Pure. Guesses before anything is decoded or tokenized; settling puts it right.
"""

from __future__ import annotations

from collections.abc import Sequence

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
BYTES_PER_TILE = 64 * 1024
"""Of an image file: a 448 x 448 tile of a photograph as JPEG."""
MAX_TILES = 10
"""Of one image: nine and the overview, as the reference model slices."""
BYTES_PER_AUDIO_S = 16_000
"""Of a sound file: between MP3 at 128 kbit/s and 16-bit PCM at 16 kHz."""
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
    tiles = sum(_tiles(item) for item in items if item.modality == tensor_pb2.MODALITY_IMAGE)
    audio_ms = sum(_audio_ms(item) for item in items if item.modality == tensor_pb2.MODALITY_AUDIO)
    return Cost(tiles=tiles, audio_ms=audio_ms)


def lane(item: Item) -> tuple[LaneName, int]:
    """The lane in which a medium waits for its encoder, and its work there: tiles, or seconds of sound."""
    if item.modality == tensor_pb2.MODALITY_IMAGE:
        return "image", _tiles(item)
    return "audio", 1 + _audio_ms(item) // 1000


def priority(asked: decoder_pb2.Priority) -> Priority:
    """Who goes first; unless it says otherwise, somebody waits for the answer."""
    return Priority.BATCH if asked == decoder_pb2.PRIORITY_BATCH else Priority.LIVE


def _tiles(image: Item) -> int:
    if not image.content:  # to be fetched: it may be any size
        return MAX_TILES
    return min(MAX_TILES, 1 + len(image.content) // BYTES_PER_TILE)


def _audio_ms(sound: Item) -> int:
    return len(sound.content) * 1000 // BYTES_PER_AUDIO_S + 1
