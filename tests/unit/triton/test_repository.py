"""Finding and rendering model repositories."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from trichord.errors import ClusterError
from trichord.triton import repository

CONFIG = """
name: "siglip"
backend: "python"
max_batch_size: 8
input [{ name: "PATCHES" data_type: TYPE_UINT8 dims: [ -1, 588 ] allow_ragged_batch: true }]
input [{ name: "EMBEDDING" data_type: TYPE_BF16 dims: [ -1, -1 ] }]
output [{ name: "EMBEDDING" data_type: TYPE_BF16 dims: [ -1, 64 ] }]
dynamic_batching { max_queue_delay_microseconds: 2000 default_queue_policy { max_queue_size: 64 } }
"""


def _source(tmp_path: Path, config: str = CONFIG, name: str = "siglip") -> Path:
    model = tmp_path / "source" / name
    (model / "1" / "__pycache__").mkdir(parents=True)
    (model / "1" / "__pycache__" / "model.pyc").write_text("stale")
    (model / "1" / "model.py").write_text("# the adapter\n")
    (model / "config.pbtxt").write_text(config)
    return model.parent


def _parsed(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_float32_widens_embeddings_and_nothing_else(tmp_path: Path) -> None:
    source, target = _source(tmp_path), tmp_path / "target"
    repository.render(source, target, "float32")
    expected = text_format.Parse(CONFIG.replace("TYPE_BF16", "TYPE_FP32"), model_config_pb2.ModelConfig())
    assert _parsed(target / "siglip" / "config.pbtxt") == expected


def test_bfloat16_is_rendered_as_written(tmp_path: Path) -> None:
    source, target = _source(tmp_path), tmp_path / "target"
    repository.render(source, target, "bfloat16")
    assert _parsed(target / "siglip" / "config.pbtxt") == _parsed(source / "siglip" / "config.pbtxt")


def test_the_adapter_goes_along_and_its_bytecode_does_not(tmp_path: Path) -> None:
    repository.render(_source(tmp_path), tmp_path / "target", "float32")
    files = {path.relative_to(tmp_path / "target").as_posix() for path in (tmp_path / "target").rglob("*.*")}
    assert files == {"siglip/config.pbtxt", "siglip/1/model.py"}


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    source = _source(tmp_path, CONFIG + "\nmax_bach_size: 3\n")
    with pytest.raises(ClusterError, match=r"config\.pbtxt of model siglip .*max_bach_size"):
        repository.render(source, tmp_path / "target", "float32")


def test_another_models_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="folder whisper names model siglip"):
        repository.render(_source(tmp_path, name="whisper"), tmp_path / "target", "float32")


def test_a_missing_config_is_refused(tmp_path: Path) -> None:
    source = _source(tmp_path)
    (source / "siglip" / "config.pbtxt").unlink()
    with pytest.raises(ClusterError, match=r"Model siglip has no config\.pbtxt"):
        repository.render(source, tmp_path / "target", "float32")


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(ClusterError, match="holds no model"):
        repository.render(tmp_path / "source", tmp_path / "target", "float32")


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param("carrier/model_repository", id="installed: inside the package"),
        pytest.param("model_repository", id="checkout: beside the package"),
    ],
)
def test_a_packages_repository_is_found(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("raise RuntimeError('finding must not import')\n")
    (tmp_path / folder).mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert repository.model_repository("carrier") == tmp_path / folder


@pytest.mark.parametrize("package", ["no_such_package", "json"])
def test_a_package_without_a_repository_is_refused(package: str) -> None:
    with pytest.raises(ClusterError, match=f"{package} carries no model_repository"):
        repository.model_repository(package)


@pytest.mark.parametrize("package", ["vision_encoder", "audio_encoder", "llm_decoder"])
def test_every_service_carries_one_model(package: str) -> None:
    models = [path for path in repository.model_repository(package).iterdir() if path.is_dir()]
    assert len(models) == 1
    assert repository.read_config(models[0]).backend == "python"
