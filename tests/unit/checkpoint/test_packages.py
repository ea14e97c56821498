"""Checkpoints of the kind of ``smol`` and ``demo``, made from two small files; a dict plays the network's part."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.unit.checkpoint import ctranslate2_writer, gguf_writer, trained_lab
from trichord.checkpoint.layout import num_stored_bytes, tensor_shapes
from trichord.checkpoint.manifest import read_manifest
from trichord.checkpoint.packages import Packages
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.progress import Advance, silent
from trichord.checkpoint.pull import Origin, ensure
from trichord.checkpoint.seeded import seeded_values
from trichord.checkpoint.smol import EMBEDDING_STD, SEED
from trichord.checkpoint.stored import WEIGHTS_FILE
from trichord.checkpoint.tokenizer import special_tokens
from trichord.checkpoint.trained import UNPACKAGED
from trichord.checkpoint.wheels import PackagedFile
from trichord.errors import CheckpointError
from trichord.model_config import AudioConfig

TINY = PRESETS["tiny"]
CONFIG = TINY.model_copy(
    update={
        "dtype": "bfloat16",
        "llm": gguf_writer.LLM,
        "audio": AudioConfig(
            n_mels=80,
            n_ctx=1500,
            n_state=ctranslate2_writer.WIDTH,
            n_head=2,
            n_layer=1,
            avg_pool=True,
            add_bos_eos=True,
        ),
    }
)
SHAPES = tensor_shapes(CONFIG)
KEY = "llm.model.layers.0.self_attn.k_proj.weight"


LLAMA, WHISPER = (PackagedFile(f"some_{name}==1.0", "", f"some_{name}/{name}.bin") for name in ("llama", "whisper"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[PackagedFile, Path]:
    directory = tmp_path_factory.mktemp("files")
    specials = special_tokens(CONFIG.prompt)
    return {
        LLAMA: gguf_writer.write(directory / "llama.gguf", gguf_writer.random_tensors(), specials=specials),
        WHISPER: ctranslate2_writer.write(directory, ctranslate2_writer.model(ctranslate2_writer.one_layer())),
    }


@pytest.fixture
def packages(files: dict[PackagedFile, Path], monkeypatch: pytest.MonkeyPatch) -> Packages:
    monkeypatch.setattr("trichord.checkpoint.packages.fetch", lambda file, _directory: files[file])
    return Packages(LLAMA, WHISPER)


@pytest.fixture
def trained_packages(packages: Packages, tmp_path: Path) -> Packages:
    file = trained_lab.write(tmp_path / "a.safetensors", tensors(seed=0))
    return Packages(packages.llama, packages.whisper, file)


def tensors(seed: int) -> dict[str, torch.Tensor]:
    return {**trained_lab.whole(SHAPES, seed), **trained_lab.pair(KEY, SHAPES[KEY], seed=seed + 1)}


def origin(packages: Packages) -> Origin:
    return Origin(CONFIG, partial(packages.fill, CONFIG, silent), packages.source())


def test_without_trained_tensors_what_no_package_has_is_seeded(packages: Packages, tmp_path: Path) -> None:
    made = load_file(ensure(tmp_path / "small", origin(packages)) / WEIGHTS_FILE)
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == SHAPES
    for name in (name for name in SHAPES if name.startswith(UNPACKAGED)):
        seeded = np.concatenate(list(seeded_values(name, SHAPES[name], SEED, EMBEDDING_STD)))
        assert torch.equal(made[name].flatten(), torch.from_numpy(seeded).to(torch.bfloat16)), name
    assert read_manifest(tmp_path / "small").source == "some_llama==1.0, some_whisper==1.0, seed 0"


def test_trained_tensors_replace_the_seeded_and_change_the_packages(
    packages: Packages, trained_packages: Packages, tmp_path: Path
) -> None:
    untrained, made = (
        load_file(ensure(tmp_path / name, origin(some)) / WEIGHTS_FILE)
        for name, some in (("untrained", packages), ("trained", trained_packages))
    )
    shipped = tensors(seed=0)
    down, up = shipped.pop(f"{KEY}.lora_a"), shipped.pop(f"{KEY}.lora_b")
    changed = (untrained[KEY].float() + up.float() @ down.float()).to(torch.bfloat16)
    assert not torch.equal(changed, untrained[KEY])
    torch.testing.assert_close(made[KEY], changed, rtol=2**-7, atol=0)  # a sum's order may move its last bit
    for name in untrained.keys() - {KEY}:
        assert torch.equal(made[name], shipped.get(name, untrained[name])), name


def test_the_same_trained_tensors_are_not_pulled_twice_and_others_are(
    trained_packages: Packages, tmp_path: Path
) -> None:
    directory, file = tmp_path / "small", trained_packages.trained_file
    assert file
    inode = (ensure(directory, origin(trained_packages)) / WEIGHTS_FILE).stat().st_ino
    assert hashlib.sha256(file.read_bytes()).hexdigest() in read_manifest(directory).source
    assert (ensure(directory, origin(trained_packages)) / WEIGHTS_FILE).stat().st_ino == inode
    trained_lab.write(file, tensors(seed=5))
    made = load_file(ensure(directory, origin(trained_packages)) / WEIGHTS_FILE)
    assert torch.equal(made["vision.resampler.query"], tensors(seed=5)["vision.resampler.query"])


def test_wrong_trained_tensors_leave_what_was_there(trained_packages: Packages, tmp_path: Path) -> None:
    directory, file = tmp_path / "small", trained_packages.trained_file
    assert file
    ensure(directory, origin(trained_packages))
    before = (directory / WEIGHTS_FILE).read_bytes()
    trained_lab.write(file, {**tensors(seed=0), "llm.other": torch.ones(2)})
    with pytest.raises(CheckpointError, match=r"llm\.other does not belong here"):
        ensure(directory, origin(trained_packages))
    assert (directory / WEIGHTS_FILE).read_bytes() == before
    assert not (tmp_path / ".small.partial").exists()


def test_every_byte_of_the_conversion_is_counted(trained_packages: Packages, tmp_path: Path) -> None:
    told: dict[str, int] = {}
    done: list[int] = []

    @contextlib.contextmanager
    def stages(title: str, total_bytes: int) -> Iterator[Advance]:
        told[title] = total_bytes
        yield done.append

    (tmp_path / "small").mkdir()
    trained_packages.fill(CONFIG, stages, tmp_path / "small")
    assert told == {"convert": num_stored_bytes(CONFIG)} == {"convert": sum(done)}
