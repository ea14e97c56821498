"""Triton adapter of the vision encoder: tensors in, ``vision_encoder.batch``, tensors out."""

import torch
import triton_python_backend_utils as pb_utils

from trichord.logs import configure
from trichord.settings import ModelSettings
from trichord.triton import adapter
from trichord.triton.model_tracing import ModelTracing
from vision_encoder import batch, encoder, simulated


class TritonPythonModel:
    """One encoder; ``execute`` answers each request on its own."""

    def initialize(self, args):
        configure("vision-encoder-triton", "info")
        settings = ModelSettings.from_environment()
        torch.set_num_threads(settings.threads)
        device = adapter.device(args)
        self.tracing = ModelTracing("vision-encoder-model", device, settings.backend)
        if settings.backend == "simulated":
            self.encoder = simulated.load(settings)
            return
        self.encoder = encoder.load(settings, device)

    def execute(self, requests):
        images = [(_input(request, "PATCHES"), _input(request, "TILE_SIZES")) for request in requests]
        num_tiles = [len(sizes[0]) for _, sizes in images]
        answers = self.tracing.batch(requests, num_tiles, lambda: batch.answer(self.encoder, images))
        return [adapter.response(pb_utils, answer) for answer in answers]

    def finalize(self):
        self.tracing.close()


def _input(request, name):
    return torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
