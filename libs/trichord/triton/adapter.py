"""What the Triton adapters share: the device of an instance, and how an encoder's answer goes back.

Knows no torch: it is handed tensors, and Triton's ``triton_python_backend_utils``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trichord.errors import RequestError


def device(args: Mapping[str, str]) -> str:
    """What torch calls the device that Triton gave a model instance, from the arguments of its ``initialize``."""
    return f"cuda:{args['model_instance_device_id']}" if args["model_instance_kind"] == "GPU" else "cpu"


def response(pb_utils: Any, answer: Any) -> Any:
    """The response to one request: a tensor of rows [tokens, hidden] as EMBEDDING, a RequestError as its message."""
    if isinstance(answer, RequestError):
        return pb_utils.InferenceResponse(error=pb_utils.TritonError(answer.message, pb_utils.TritonError.INVALID_ARG))
    rows = answer[None].contiguous().cpu()
    return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("EMBEDDING", rows)])
