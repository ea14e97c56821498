"""A model repository with two trivial Python models, and the embedded Triton."""

from pathlib import Path

import pytest

from trichord.home import home
from trichord.triton import runtime

IDENTITY_CONFIG = """
name: "identity"
backend: "python"
max_batch_size: 0
input [{ name: "X" data_type: TYPE_FP32 dims: [ -1 ] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [ -1 ] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""

IDENTITY_MODEL = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "X") for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("Y", x.to_dlpack())]) for x in tensors]
"""


def write_model(repository: Path, name: str, config: str, model: str) -> None:
    """Adds one model of one version."""
    (repository / name / "1").mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(config)
    (repository / name / "1" / "model.py").write_text(model)


@pytest.fixture
def identity_repository(tmp_path: Path) -> Path:
    repository = tmp_path / "repository"
    write_model(repository, "identity", IDENTITY_CONFIG, IDENTITY_MODEL)
    return repository


@pytest.fixture(scope="session")
def triton() -> runtime.Triton:
    return runtime.install(home())
