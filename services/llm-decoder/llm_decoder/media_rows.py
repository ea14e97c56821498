"""The rows of a request's media: checked, converted to the engine's type, put one after another.

Nothing from outside reaches the engine's process unchecked. Knows nothing of where the rows go in the prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from llm_decoder.conversation import Image, Sound, embeddings
from trichord.errors import FingerprintError, RequestError
from trichord.model_config import Dtype
from trichord.tensors import NUMPY_DTYPES, Array, check_embedding
from trichord.v1 import decoder_pb2, tensor_pb2


class MediaRows(NamedTuple):
    """The media of one conversation."""

    rows: Array
    """[m, hidden] of all embeddings, in order, in the engine's type."""
    identities: tuple[str, ...]
    """What each embedding is: a digest of its rows. The cache of prefixes rests on it, so no claim of a caller does."""


class MediaGate:
    """Lets embeddings in that this decoder can take."""

    def __init__(self, hidden_size: int, dtype: Dtype, accepted_fingerprints: Collection[str]) -> None:
        self._hidden_size = hidden_size
        self._dtype = NUMPY_DTYPES[dtype]
        self.accepted_fingerprints = frozenset(accepted_fingerprints)

    def rows(
        self, messages: Sequence[decoder_pb2.DecoderMessage], layouts: Sequence[Image | Sound]
    ) -> MediaRows | None:
        """The media of a conversation; None if it has none.

        ``layouts`` are the media's, in the same order. Raises FingerprintError or RequestError naming the part.
        """
        pairs = zip(embeddings(messages), layouts, strict=True)
        checked = [self._checked(embedding, layout, field) for (field, embedding), layout in pairs]
        return MediaRows(np.concatenate(checked), tuple(map(_identity, checked))) if checked else None

    def _checked(self, embedding: tensor_pb2.Embedding, layout: Image | Sound, field: str) -> Array:
        if embedding.fingerprint not in self.accepted_fingerprints:
            message = "This decoder does not accept embeddings of that encoder. Encode the medium with its own encoder."
            raise FingerprintError(message, field=f"{field}.fingerprint")
        rows = check_embedding(embedding, hidden_size=self._hidden_size, field=field)
        if len(rows) != layout.num_tokens:
            message = f"The layout tells of {layout.num_tokens} rows; there are {len(rows)}."
            raise RequestError(message, field=f"{field}.values.shape")
        with np.errstate(over="ignore"):  # a float32 near its limit is infinite in bfloat16: told below
            converted = rows.astype(self._dtype, copy=False)
        if converted is not rows and not bool(np.isfinite(converted).all()):
            raise RequestError("Embedding rows must be finite in the model's type.", field=f"{field}.values.data")
        return converted


def _identity(rows: Array) -> str:
    return hashlib.sha256(rows.tobytes()).hexdigest()[:32]
