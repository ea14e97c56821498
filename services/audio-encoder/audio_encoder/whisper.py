"""The audio tower as the front sees it: a model in this pod's Triton.

Knows no sound formats and no gRPC service of ours.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from opentelemetry.trace import SpanKind

from audio_encoder.pcm import Samples
from trichord.media.windows import window_samples, window_tokens
from trichord.model_config import ModelConfig
from trichord.readiness import Readiness
from trichord.served_model import check_rows
from trichord.settings import FrontSettings
from trichord.telemetry import names, spans
from trichord.tensors import Array
from trichord.triton.client import TritonClient

MODEL = "whisper"
"""Its name in the Triton model repository."""

WARM_UP_TIMEOUT_S = 60.0
"""For the first window of a large tower on a CPU."""


class Whisper:
    """Encodes windows."""

    def __init__(self, triton: TritonClient, config: ModelConfig, settings: FrontSettings) -> None:
        self._triton, self._config, self._settings = triton, config, settings
        self.ready = Readiness(partial(triton.model_ready, MODEL), self._warm_up)
        """Whether the model is loaded and has encoded one whole window of silence since; raises as ``encode`` does."""

    async def encode(self, window: Samples, timeout_s: float) -> Array:
        """The rows [tokens, hidden] of a window, float32 [n], mono 16 kHz, at most 30 s.

        Raises as ``TritonClient.infer`` does, and UnavailableError if the rows are not this model's.
        """
        with spans.span(f"triton {MODEL}", SpanKind.CLIENT, {names.MODALITY: "audio", names.UNITS: 1}):
            outputs = await self._triton.infer(MODEL, {"PCM": window[np.newaxis]}, timeout_s=timeout_s)
        shape = (window_tokens(len(window), self._config.audio), self._config.llm.hidden_size)
        return check_rows(outputs["EMBEDDING"][0], shape, self._settings, self._config)

    async def _warm_up(self) -> None:
        await self.encode(np.zeros(window_samples(self._config.audio), np.float32), WARM_UP_TIMEOUT_S)
