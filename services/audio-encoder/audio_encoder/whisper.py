"""The audio tower as the front sees it: a model in this pod's Triton.

Knows no sound formats and no gRPC service of ours.
"""

from __future__ import annotations

import numpy as np

from audio_encoder.pcm import Samples
from trichord.errors import UnavailableError
from trichord.media.windows import window_samples, window_tokens
from trichord.model_config import ModelConfig
from trichord.tensors import Array
from trichord.triton.client import TritonClient

MODEL = "whisper"
"""Its name in the Triton model repository."""

WARM_UP_TIMEOUT_S = 60.0
"""For the first window of a large tower on a CPU."""


class Whisper:
    """Encodes windows."""

    def __init__(self, triton: TritonClient, config: ModelConfig) -> None:
        self._triton, self._config = triton, config
        self._is_warm = False

    async def encode(self, window: Samples, timeout_s: float) -> Array:
        """The rows [tokens, hidden] of a window, float32 [n], mono 16 kHz, at most 30 s.

        Raises as ``TritonClient.infer`` does, and UnavailableError if the rows are not this checkpoint's.
        """
        outputs = await self._triton.infer(MODEL, {"PCM": window[np.newaxis]}, timeout_s=timeout_s)
        rows: Array = outputs["EMBEDDING"][0]
        if rows.shape != (window_tokens(len(window), self._config.audio), self._config.llm.hidden_size):
            raise UnavailableError("The model server runs another checkpoint than this front. Restart both on one.")
        return rows

    async def ready(self) -> bool:
        """Whether the model is loaded and has encoded one whole window of silence since.

        Raises as ``encode`` does if that fails.
        """
        if not await self._triton.model_ready(MODEL):
            self._is_warm = False
        elif not self._is_warm:
            silence = np.zeros(window_samples(self._config.audio), np.float32)
            await self.encode(silence, WARM_UP_TIMEOUT_S)
            self._is_warm = True
        return self._is_warm
