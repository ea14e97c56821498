"""The adapters' shared half, with Triton's utilities stood in for by plain values."""

from types import SimpleNamespace

import pytest
import torch

from trichord.errors import RequestError
from trichord.triton import adapter


class TritonError(Exception):
    INVALID_ARG = "INVALID_ARG"


pb_utils = SimpleNamespace(
    TritonError=TritonError,
    InferenceResponse=lambda output_tensors=(), error=None: SimpleNamespace(outputs=list(output_tensors), error=error),
    Tensor=SimpleNamespace(from_dlpack=lambda name, tensor: (name, torch.from_dlpack(tensor))),
)


@pytest.mark.parametrize(("kind", "device"), [("CPU", "cpu"), ("GPU", "cuda:1")])
def test_an_instance_runs_where_triton_put_it(kind, device):
    assert adapter.device({"model_instance_kind": kind, "model_instance_device_id": "1"}) == device


def test_rows_go_back_as_a_batch_of_one():
    rows = torch.arange(12.0).view(3, 4).T  # not contiguous
    response = adapter.response(pb_utils, rows)
    ((name, tensor),) = response.outputs
    assert name == "EMBEDDING"
    assert tensor.is_contiguous()
    assert torch.equal(tensor, rows[None])
    assert response.error is None


def test_a_refusal_goes_back_as_its_message():
    response = adapter.response(pb_utils, RequestError("PCM must be finite.", field="PCM"))
    assert response.outputs == []
    assert response.error.args == ("PCM must be finite.", TritonError.INVALID_ARG)
