"""Usage and stage receipt of one request, filled in as it goes. Knows a clock and the contract."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gateway.encoding import Encoded, num_units
from trichord import finish_reason
from trichord.telemetry import request_line
from trichord.v1 import decoder_pb2, gateway_pb2, tensor_pb2


class Receipt:
    """Starts counting when it is made."""

    def __init__(self, trace_id: str) -> None:
        self._started = time.perf_counter()
        self.stages = gateway_pb2.StageReceipt(trace_id=trace_id)

    def elapsed_ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.perf_counter() - self._started) * 1e3

    @property
    def is_finished(self) -> bool:
        """Whether the last event was made."""
        return self.stages.total_ms > 0

    def admitted(self) -> None:
        """The request was checked and let in."""
        self.stages.admit_ms = self.elapsed_ms()

    def encoded(self) -> None:
        """The last medium is encoded."""
        self.stages.encode_ms = self.elapsed_ms() - self.stages.admit_ms

    def merged(self) -> None:
        """Parts and embeddings are in order."""
        self.stages.merge_ms = self.elapsed_ms() - self.stages.admit_ms - self.stages.encode_ms

    def queued(self, seconds: float) -> None:
        """The request waited for its turn at a decoder."""
        self.stages.queue_ms = seconds * 1e3

    def first_token(self) -> None:
        """Notes the first token; later calls change nothing."""
        if not self.stages.first_token_ms:
            self.stages.first_token_ms = self.elapsed_ms()
            request_line.add(ttft_ms=round(self.stages.first_token_ms, 1))

    def finished(
        self,
        finished: decoder_pb2.GenerateFinished,
        items: Sequence[Encoded],
        embeddings: Sequence[tensor_pb2.Embedding],
    ) -> gateway_pb2.ChatFinished:
        """The last event: usage of the items encoded here and of the ``embeddings`` that the caller brought."""
        self.stages.total_ms = self.elapsed_ms()
        self.stages.decoder.CopyFrom(finished.timings)
        request_line.add(finish_reason=finish_reason.word(finished.reason), cached_tokens=finished.cached_tokens)
        self.stages.items.extend(item_receipt(item) for item in items)
        return gateway_pb2.ChatFinished(
            reason=finished.reason,
            usage=usage(finished, items, embeddings),
            receipt=self.stages,
            samples=finished.samples,
        )


def usage(
    finished: decoder_pb2.GenerateFinished, items: Sequence[Encoded], embeddings: Sequence[tensor_pb2.Embedding]
) -> gateway_pb2.Usage:
    """What a request took: as the decoder counted, of items encoded here and ``embeddings`` that the caller brought."""
    every = [*(item.embedding for item in items), *embeddings]
    return gateway_pb2.Usage(
        prompt_tokens=finished.prompt_tokens,
        completion_tokens=finished.completion_tokens,
        images=sum(embedding.modality == tensor_pb2.MODALITY_IMAGE for embedding in every),
        image_tiles=sum(num_units(e) for e in every if e.modality == tensor_pb2.MODALITY_IMAGE),
        audio_seconds=sum(embedding.windows.seconds for embedding in every),
        cache_hits=len(embeddings) + sum(item.source != gateway_pb2.EMBEDDING_SOURCE_ENCODED for item in items),
        cached_tokens=finished.cached_tokens,
    )


def item_receipt(encoded: Encoded) -> gateway_pb2.ItemReceipt:
    """Where one item's time went."""
    timings = encoded.timings
    accounted_ms = timings.queue_ms + timings.decode_ms + timings.model_ms
    return gateway_pb2.ItemReceipt(
        modality=encoded.item.modality,
        message_index=encoded.item.message_index,
        part_index=encoded.item.part_index,
        fetch_ms=encoded.item.fetch_ms,
        queue_ms=encoded.lane_ms + timings.queue_ms,
        decode_ms=timings.decode_ms,
        encode_ms=timings.model_ms,
        transfer_ms=max(0.0, encoded.round_trip_ms - accounted_ms),
        tokens=encoded.num_rows,
        units=encoded.num_units,
        store_ms=encoded.store_ms,
        source=encoded.source,
        wake_ms=encoded.wake_ms,
    )
