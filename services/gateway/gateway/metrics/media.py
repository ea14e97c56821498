"""What becomes of images and sounds: fetched, held, encoded, left out. Observed once for each of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import Counter, Histogram

from trichord.telemetry import spans
from trichord.telemetry.exemplars import exemplar
from trichord.v1 import gateway_pb2, tensor_pb2

ENCODE = Histogram(
    "trichord_encode_duration_seconds",
    "Seconds from an item's bytes to its embedding: looking in the store, waiting for a turn, being encoded.",
    ["modality", "source"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
FETCH = Histogram(
    "trichord_fetch_duration_seconds",
    "Seconds that fetching an image from its URL took, by what came of it: ok, else the kind of error.",
    ["outcome"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
WAKE_WAIT = Histogram(
    "trichord_wake_wait_seconds",
    "Seconds that an item was held until its sleeping encoder was awake, or was given up.",
    ["modality"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
TILES = Counter("trichord_image_tiles", "Tiles of the images whose embeddings were come by.", ["source"])
AUDIO_SECONDS = Counter("trichord_audio_seconds", "Seconds of the sounds whose embeddings were come by.", ["source"])
SKIPPED = Counter(
    "trichord_skipped_items",
    "Images and sounds that an answer did without, as its request allowed, by the kind of error that kept them out.",
    ["modality", "reason"],
)

MODALITIES: Mapping[tensor_pb2.Modality, str] = {tensor_pb2.MODALITY_IMAGE: "image", tensor_pb2.MODALITY_AUDIO: "audio"}
for _modality in MODALITIES.values():
    WAKE_WAIT.labels(_modality)  # there from the start: what appears with a burst has not risen, for Prometheus
SOURCES: Mapping[gateway_pb2.EmbeddingSource, str] = {
    gateway_pb2.EMBEDDING_SOURCE_ENCODED: "encoded",
    gateway_pb2.EMBEDDING_SOURCE_STORE: "store",
    gateway_pb2.EMBEDDING_SOURCE_SHARED: "flight",
}


def encoded(
    modality: tensor_pb2.Modality,
    embedding: tensor_pb2.Embedding,
    source: gateway_pb2.EmbeddingSource,
    seconds: float,
) -> None:
    """Notes an item's embedding, and how long coming by it took."""
    told = SOURCES[source]
    if modality == tensor_pb2.MODALITY_IMAGE:
        TILES.labels(told).inc(1 + embedding.grid.cols * embedding.grid.rows)
    else:
        AUDIO_SECONDS.labels(told).inc(embedding.windows.seconds)
    ENCODE.labels(MODALITIES[modality], told).observe(seconds, exemplar())


def skipped(modality: tensor_pb2.Modality, error: Exception) -> None:
    """Notes an item that an answer does without."""
    SKIPPED.labels(MODALITIES[modality], spans.error_type(error)).inc()


@contextmanager
def fetching() -> Iterator[None]:
    """Times a fetch, and notes how it ended."""
    began_s, outcome = time.perf_counter(), "ok"
    try:
        yield
    except BaseException as error:
        outcome = spans.error_type(error)
        raise
    finally:
        FETCH.labels(outcome).observe(time.perf_counter() - began_s, exemplar())


@contextmanager
def held(modality: tensor_pb2.Modality) -> Iterator[None]:
    """Times an item's wait for a sleeping encoder, whatever ended it."""
    began_s = time.perf_counter()
    try:
        yield
    finally:
        WAKE_WAIT.labels(MODALITIES[modality]).observe(time.perf_counter() - began_s, exemplar())
