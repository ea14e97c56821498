"""Embeddings to keep."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.embeddings.record import Key, Sealer
from trichord.tensors import BFLOAT16, to_proto
from trichord.v1 import tensor_pb2

IMAGE, AUDIO = tensor_pb2.MODALITY_IMAGE, tensor_pb2.MODALITY_AUDIO


@pytest.fixture
def sealer() -> Sealer:
    return Sealer(b"secret")


def image_key(sealer: Sealer, content: bytes = b"pixels") -> Key:
    return sealer.key("a", IMAGE, content, "vision")


def image(key: Key, value: float = 1.5) -> tensor_pb2.Embedding:
    return tensor_pb2.Embedding(
        values=to_proto(np.full((6, 4), value, BFLOAT16)),
        fingerprint=key.fingerprint,
        content_sha256=key.content_sha256,
        modality=IMAGE,
        grid=tensor_pb2.ImageGrid(cols=2, rows=1, tokens_per_tile=2, width=640, height=480),
    )


def audio(key: Key) -> tensor_pb2.Embedding:
    return tensor_pb2.Embedding(
        values=to_proto(np.arange(20, dtype=np.float32).reshape(5, 4)),
        fingerprint=key.fingerprint,
        content_sha256=key.content_sha256,
        modality=AUDIO,
        windows=tensor_pb2.AudioWindows(tokens=[3, 2], seconds=31.25),
    )
