"""Triton adapter of the Whisper tower: tensors in, ``audio_encoder.batch``, tensors out."""

import torch
import triton_python_backend_utils as pb_utils

from audio_encoder import batch, encoder
from trichord.settings import ModelSettings


class TritonPythonModel:
    """One encoder; ``execute`` answers each request on its own."""

    def initialize(self, args):
        settings = ModelSettings.from_environment()
        torch.set_num_threads(settings.threads)
        on_gpu = args["model_instance_kind"] == "GPU"
        self.encoder = encoder.load(settings, f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")

    def execute(self, requests):
        windows = [torch.from_dlpack(pb_utils.get_input_tensor_by_name(request, "PCM")) for request in requests]
        return [_response(answer) for answer in batch.answer(self.encoder, windows)]


def _response(answer):
    if not isinstance(answer, torch.Tensor):
        error = pb_utils.TritonError(answer.message, pb_utils.TritonError.INVALID_ARG)
        return pb_utils.InferenceResponse(error=error)
    rows = answer[None].contiguous().cpu()
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("EMBEDDING", rows)])
