"""One image or sound, from its source to its embedding: fetched, found in the store, or encoded in its turn.

An encoder that sleeps is waited for before all that: nobody who is held has a slot, a store's lease or a replica. Nor
is it woken for what is kept, as the media of a conversation's earlier turns are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple

from gateway.admission import charges
from gateway.admission.lanes import Lanes
from gateway.backends import Encoder, Encoding
from gateway.caller import Caller
from gateway.conversation import Item
from gateway.embeddings.store import EmbeddingStore, Stored
from gateway.metrics import media
from gateway.sources import MediaSources
from gateway.waking.notices import Notices
from gateway.waking.rooms import WaitingRooms
from trichord.errors import TrichordError, UnavailableError
from trichord.telemetry import names, spans
from trichord.v1 import gateway_pb2, tensor_pb2

Accepted = Callable[[float], Awaitable[Sequence[str]]]
"""Fingerprints of the encoders whose embeddings the decoder takes, told within some seconds."""


class Encoded(NamedTuple):
    """An item's embedding, and the stages that made it."""

    item: Item
    embedding: tensor_pb2.Embedding
    source: gateway_pb2.EmbeddingSource
    store_ms: float = 0.0
    wake_ms: float = 0.0
    """Waiting for an encoder that was asleep."""
    lane_ms: float = 0.0
    """Waiting in the gateway for the encoder."""
    timings: tensor_pb2.EncodeTimings = tensor_pb2.EncodeTimings()
    """The encoder's own; empty unless it was called for this request."""
    round_trip_ms: float = 0.0

    @property
    def made_ms(self) -> float:
        """From the item's bytes to its embedding, once the encoder is awake."""
        return self.store_ms + self.lane_ms + self.round_trip_ms

    @property
    def num_rows(self) -> int:
        """Positions of the prompt that the embedding takes."""
        return self.embedding.values.shape[0]

    @property
    def num_units(self) -> int:
        """Tiles of an image, windows of a sound."""
        return num_units(self.embedding)


def num_units(embedding: tensor_pb2.Embedding) -> int:
    """Tiles of an image's embedding, windows of a sound's."""
    if embedding.modality == tensor_pb2.MODALITY_IMAGE:
        return 1 + embedding.grid.cols * embedding.grid.rows
    return len(embedding.windows.tokens)


class _Turn:
    """One caller's turn at an encoder, if it comes to that."""

    def __init__(self, encoder: Encoder, lanes: Lanes, item: Item, caller: Caller) -> None:
        self._encoder, self._lanes, self._item, self._caller = encoder, lanes, item, caller
        self.encoding: Encoding | None = None
        self.lane_ms = 0.0

    async def encode(self) -> tensor_pb2.Embedding:
        item, caller = self._item, self._caller
        name, cost = charges.lane(item)
        async with self._lanes.slot(name, caller.tenant, cost, caller.priority, caller.deadline.hop_s()) as ticket:
            self.lane_ms = ticket.waited_s * 1e3
            self.encoding = await self._encoder.encode(item.content, caller.deadline.hop_s())
        return self.encoding.embedding


class ItemEncoder:
    """Turns items into embeddings, for all requests of the gateway."""

    def __init__(
        self,
        encoders: Mapping[tensor_pb2.Modality, Encoder],
        store: EmbeddingStore,
        lanes: Lanes,
        sources: MediaSources,
        rooms: WaitingRooms,
        accepted: Accepted,
    ) -> None:
        self._encoders, self._store, self._lanes, self._sources = encoders, store, lanes, sources
        self._rooms, self._accepted = rooms, accepted

    async def encode(self, item: Item, caller: Caller, notices: Notices | None) -> Encoded:
        """One item; ``notices`` are told how a wait for a sleeping encoder stands, without them there is none.

        Raises a TrichordError whose field is the item's.
        """
        told = {names.PART: item.field, names.MODALITY: media.MODALITIES[item.modality]}
        with spans.span("encode item", attributes=told) as span:
            try:
                encoded = await self._awaited(await self._sources.fetched(item, caller), caller, notices)
            except TrichordError as error:
                error.at(item.field)
                raise
            source = media.SOURCES[encoded.source]
            span.set_attributes({names.SOURCE: source, names.TOKENS: encoded.num_rows, names.UNITS: encoded.num_units})
        media.encoded(item.modality, encoded.embedding, encoded.source, encoded.made_ms / 1e3)
        return encoded

    async def _awaited(self, item: Item, caller: Caller, notices: Notices | None) -> Encoded:
        """What comes of the item once its encoder is awake; again, if that fell asleep before the item's turn."""
        if self._rooms.are_asleep(item.modality) and (kept := await self._kept(item, caller)):
            return kept
        held_s = 0.0
        while True:
            held_s += await self._rooms.awake(item, caller.deadline, notices)
            try:
                return (await self._encode(item, caller))._replace(wake_ms=held_s * 1e3)
            except UnavailableError:
                if not self._rooms.are_asleep(item.modality):
                    raise

    async def _kept(self, item: Item, caller: Caller) -> Encoded | None:
        """The item's embedding by any encoder that the decoder accepts; its own cannot be asked what it is."""
        try:
            fingerprints = await self._accepted(caller.deadline.hop_s())
        except UnavailableError:
            return None
        stored = await self._store.kept(caller.tenant, item.modality, item.content, fingerprints)
        return Encoded(item, stored.embedding, stored.source, stored.store_ms) if stored else None

    async def _encode(self, item: Item, caller: Caller) -> Encoded:
        encoder = self._encoders[item.modality]
        turn = _Turn(encoder, self._lanes, item, caller)
        fingerprint = await encoder.fingerprint(caller.deadline.hop_s())
        stored = await self._store.embedding(
            caller.tenant, item.modality, item.content, fingerprint, turn.encode, timeout_s=caller.deadline.left_s()
        )
        return _encoded(item, stored, turn)


def _encoded(item: Item, stored: Stored, turn: _Turn) -> Encoded:
    encoded = Encoded(item, stored.embedding, stored.source, stored.store_ms, lane_ms=turn.lane_ms)
    if turn.encoding is None:
        return encoded
    return encoded._replace(timings=turn.encoding.timings, round_trip_ms=turn.encoding.round_trip_ms)
