"""Triton adapter of the Whisper tower: tensors in, ``audio_encoder.batch``, tensors out."""

import torch
import triton_python_backend_utils as pb_utils

from audio_encoder import batch, encoder, simulated
from trichord.logs import configure
from trichord.settings import ModelSettings
from trichord.triton import adapter
from trichord.triton.model_tracing import ModelTracing


class TritonPythonModel:
    """One encoder; ``execute`` answers each request on its own."""

    def initialize(self, args):
        configure("audio-encoder-triton", "info")
        settings = ModelSettings.from_environment()
        torch.set_num_threads(settings.threads)
        device = adapter.device(args)
        self.tracing = ModelTracing("audio-encoder-model", device, settings.backend)
        if settings.backend == "simulated":
            self.encoder = simulated.load(settings)
            return
        self.encoder = encoder.load(settings, device)

    def execute(self, requests):
        windows = [torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "PCM")) for request in requests]
        answers = self.tracing.batch(requests, [1] * len(requests), lambda: batch.answer(self.encoder, windows))
        return [adapter.response(pb_utils, answer) for answer in answers]

    def finalize(self):
        self.tracing.close()
