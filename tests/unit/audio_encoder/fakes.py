"""A Triton that runs the tower in this process; it can be told to fail or to hang."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch

from audio_encoder import batch
from audio_encoder.encoder import AudioEncoder
from trichord.errors import InternalError, TrichordError

Array = npt.NDArray[np.generic]


class InProcessTriton:
    """What the front needs of ``TritonClient``."""

    def __init__(self, encoder: AudioEncoder) -> None:
        self.encoder = encoder
        self.is_ready = True
        self.dtype = np.dtype(np.float32)
        """Of the rows that it answers with."""
        self.error: TrichordError | None = None
        self.hangs = False
        self.lengths: list[int] = []
        """Samples of each window that came, in order of arrival."""
        self.cancelled = asyncio.Semaphore(0)
        """Released by each window that was cancelled while it hung."""
        self.arrived = asyncio.Event()

    async def model_ready(self, model: str) -> bool:
        return self.is_ready and model == "whisper"

    async def infer(self, model: str, inputs: Mapping[str, Array], *, timeout_s: float) -> dict[str, Array]:
        assert model == "whisper"
        assert timeout_s > 0
        (pcm,) = inputs.values()
        assert pcm.dtype == np.float32
        self.lengths.append(pcm.shape[1])
        self.arrived.set()
        if self.error is not None:
            raise self.error
        if self.hangs:
            await self._hang()
        (answer,) = batch.answer(self.encoder, [torch.from_numpy(pcm.copy())])
        if not isinstance(answer, torch.Tensor):
            raise InternalError("The model failed on this request.")
        return {"EMBEDDING": answer[None].numpy().astype(self.dtype)}

    async def _hang(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
