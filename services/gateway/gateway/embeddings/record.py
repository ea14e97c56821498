"""What is kept of a medium: its embedding, or why the encoder refused it, as one sealed string of bytes.

A record is a fixed header, then the layout's int32 numbers, then the rows (or the refusal's text), all little-endian::

    mac          32 bytes  HMAC-SHA256 over everything after it
    magic        4 bytes   "TREM"
    version      uint8
    kind         uint8     1 embedding, 2 refusal
    modality     uint8     of trichord.v1.Modality
    dtype        uint8     of trichord.v1.DataType; 0 for a refusal
    rows, hidden uint32 x2 shape of the rows
    layout       uint32    how many numbers: an image's cols, rows, tokens_per_tile, width, height; a sound's tokens
    seconds      float64   length of a sound
    key          32 bytes  digest of the key that the record was made for

The mac is keyed: who can write to Redis still cannot make a record that opens. Pure; knows nothing of Redis.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from typing import NamedTuple

from trichord.errors import MediaError
from trichord.v1 import tensor_pb2

VERSION = 1
_MAGIC = b"TREM"
_EMBEDDING, _REFUSAL = 1, 2
_MAC_BYTES = hashlib.sha256().digest_size
_HEADER = struct.Struct("<4s4B3Id32s")
_ITEM_BYTES = {tensor_pb2.DATA_TYPE_FLOAT32: 4, tensor_pb2.DATA_TYPE_BFLOAT16: 2}
_NUM_GRID_FIELDS = 5

Outcome = tensor_pb2.Embedding | MediaError
"""What came of encoding a medium."""


class CorruptRecordError(Exception):
    """Bytes that are no record of their key. Never leaves the store."""


class UnfitError(Exception):
    """An embedding of a form that records do not have. Never leaves the store."""


class Key(NamedTuple):
    """What a record is found by, and what it need not repeat."""

    digest: bytes
    """32 bytes; tells nothing of tenant or content to who does not know the secret."""
    modality: tensor_pb2.Modality
    fingerprint: str
    """Of the encoder."""
    content_sha256: str
    """Of the medium's bytes, hex."""


class Sealer:
    """Makes keys and records under one secret, which all gateways of a deployment share."""

    def __init__(self, secret: bytes) -> None:
        self._key_secret, self._record_secret = (hmac.digest(secret, use, "sha256") for use in (b"key", b"record"))

    def key(self, tenant: str, modality: tensor_pb2.Modality, content: bytes, fingerprint: str) -> Key:
        """The key of a tenant's medium, as one encoder sees it."""
        content_sha256 = hashlib.sha256(content).hexdigest()
        parts = (tenant, str(int(modality)), fingerprint, content_sha256)
        # Each with its length before it: no two lists of parts make the same message.
        message = b"".join(struct.pack("<I", len(part)) + part for part in (text.encode() for text in parts))
        return Key(hmac.digest(self._key_secret, message, "sha256"), modality, fingerprint, content_sha256)

    def seal(self, key: Key, outcome: Outcome) -> bytes:
        """The record of what came of a medium. Raises UnfitError for an embedding that it cannot hold."""
        parts = _refusal(key, outcome) if isinstance(outcome, MediaError) else _embedding(key, outcome)
        mac = hmac.new(self._record_secret, digestmod="sha256")
        for part in parts:
            mac.update(part)
        return b"".join((mac.digest(), *parts))

    def open(self, key: Key, record: object) -> Outcome:
        """What was sealed under ``key``. Raises CorruptRecordError for anything else."""
        if not isinstance(record, bytes) or len(record) < _MAC_BYTES + _HEADER.size:
            raise CorruptRecordError
        sealed = memoryview(record)[_MAC_BYTES:]
        if not hmac.compare_digest(hmac.digest(self._record_secret, sealed, "sha256"), record[:_MAC_BYTES]):
            raise CorruptRecordError
        return _parse(key, sealed)


def _refusal(key: Key, error: MediaError) -> tuple[bytes, bytes]:
    header = _HEADER.pack(_MAGIC, VERSION, _REFUSAL, key.modality, 0, 0, 0, 0, 0.0, key.digest)
    return header, error.message.encode()


def _embedding(key: Key, embedding: tensor_pb2.Embedding) -> tuple[bytes, bytes, bytes]:
    values, layout = embedding.values, _layout(embedding)
    num_bytes = math.prod(values.shape) * _ITEM_BYTES.get(values.dtype, 0)
    fits = len(values.shape) == 2 and all(0 < size < 1 << 32 for size in values.shape) and num_bytes == len(values.data)
    if not fits or embedding.modality != key.modality or embedding.fingerprint != key.fingerprint:
        raise UnfitError
    shape = (*values.shape, len(layout))
    seconds = embedding.windows.seconds
    header = _HEADER.pack(_MAGIC, VERSION, _EMBEDDING, key.modality, values.dtype, *shape, seconds, key.digest)
    return header, struct.pack(f"<{len(layout)}i", *layout), values.data


def _layout(embedding: tensor_pb2.Embedding) -> tuple[int, ...]:
    grid = embedding.grid
    match embedding.modality, embedding.WhichOneof("layout"):
        case tensor_pb2.MODALITY_IMAGE, "grid":
            return grid.cols, grid.rows, grid.tokens_per_tile, grid.width, grid.height
        case tensor_pb2.MODALITY_AUDIO, "windows":
            return tuple(embedding.windows.tokens)
    raise UnfitError


def _parse(key: Key, sealed: memoryview) -> Outcome:
    """Of a record that verified: made by us, but perhaps by an older version or for another key."""
    header = _HEADER.unpack_from(sealed)
    magic, version, kind, modality, dtype, rows, hidden, num_layout, seconds, digest = header
    if (magic, version, modality, digest) != (_MAGIC, VERSION, key.modality, key.digest):
        raise CorruptRecordError
    if kind == _REFUSAL:
        return MediaError(str(sealed[_HEADER.size :], "utf-8"))
    data_at = _HEADER.size + 4 * num_layout
    layout = struct.unpack_from(f"<{num_layout}i", sealed, _HEADER.size)
    values = tensor_pb2.Tensor(dtype=dtype, shape=(rows, hidden), data=bytes(sealed[data_at:]))
    embedding = tensor_pb2.Embedding(
        values=values, fingerprint=key.fingerprint, content_sha256=key.content_sha256, modality=key.modality
    )
    if key.modality == tensor_pb2.MODALITY_IMAGE:
        cols, grid_rows, tokens_per_tile, width, height = layout
        embedding.grid.MergeFrom(
            tensor_pb2.ImageGrid(cols=cols, rows=grid_rows, tokens_per_tile=tokens_per_tile, width=width, height=height)
        )
    else:
        embedding.windows.MergeFrom(tensor_pb2.AudioWindows(tokens=layout, seconds=seconds))
    return embedding
