"""Triton model repositories: finds the ones that the services carry, and renders them for a run.

A checked-in ``config.pbtxt`` is complete but for one thing: which type the embedding tensors have, bfloat16 as written
or float32, follows from the dtype that the cluster runs in. Knows no model by name.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from trichord.errors import ClusterError
from trichord.model_config import Dtype

_pb: Any = model_config_pb2  # its messages have no stubs

FOLDER = "model_repository"
CONFIG_FILE = "config.pbtxt"


def model_repository(package: str) -> Path:
    """The repository that a service's package carries: beside it in a checkout, inside it when installed.

    Raises ClusterError if there is none.
    """
    spec = importlib.util.find_spec(package)
    for location in (spec.submodule_search_locations if spec else None) or ():
        for folder in (Path(location) / FOLDER, Path(location).parent / FOLDER):
            if folder.is_dir():
                return folder
    raise ClusterError(f"{package} carries no {FOLDER}. Install Trichord with its services.")


def read_config(model: Path) -> Any:
    """A model's configuration, an ``inference.ModelConfig``.

    Raises ClusterError if it is missing, has an unknown field, or is another model's.
    """
    try:
        config = text_format.Parse((model / CONFIG_FILE).read_text(), _pb.ModelConfig())
    except OSError as error:
        raise ClusterError(f"Model {model.name} has no {CONFIG_FILE}.") from error
    except (ValueError, text_format.ParseError) as error:
        raise ClusterError(f"The {CONFIG_FILE} of model {model.name} is wrong at {error}") from error
    if config.name != model.name:
        raise ClusterError(f"The {CONFIG_FILE} in folder {model.name} names model {config.name or '(none)'}.")
    return config


def render(source: Path, target: Path, dtype: Dtype) -> None:
    """Writes the repository ``source`` to the new directory ``target``, its embedding tensors in ``dtype``.

    Raises ClusterError as ``read_config`` does, or if ``source`` holds no model.
    """
    models = sorted(path for path in source.iterdir() if path.is_dir())
    if not models:
        raise ClusterError("The model repository holds no model.")
    for model in models:
        config = read_config(model)
        if dtype == "float32":
            _widen(config)
        shutil.copytree(model, target / model.name, ignore=shutil.ignore_patterns("__pycache__"))
        (target / model.name / CONFIG_FILE).write_text(text_format.MessageToString(config))


def _widen(config: Any) -> None:
    for tensor in (*config.input, *config.output):
        if tensor.data_type == _pb.TYPE_BF16:
            tensor.data_type = _pb.TYPE_FP32
