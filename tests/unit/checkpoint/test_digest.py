"""Digests and fingerprints change with what changes an embedding, and with nothing else."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from trichord.checkpoint.digest import EncoderTower, combined_digest, fingerprint, weight_digest
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.stored import INDEX_FILE, WEIGHTS_FILE
from trichord.model_config import ModelConfig

TOWERS: list[EncoderTower] = ["vision", "audio"]


def fingerprints(checkpoint: Path) -> dict[str, str]:
    return {tower: fingerprint(checkpoint, tower, "float32") for tower in TOWERS}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {tower for tower in before if before[tower] != after[tower]}


def edit_config(checkpoint: Path, section: str, **update: object) -> None:
    config = ModelConfig.read(checkpoint)
    part = getattr(config, section).model_copy(update=update)
    config.model_copy(update={section: part}).write(checkpoint)


def test_the_digest_is_the_documented_one(pristine: Path) -> None:
    sha256 = hashlib.sha256()
    tensors = load_file(pristine / WEIGHTS_FILE)
    for name in sorted(name for name in tensors if name.startswith("audio.audio.")):
        sha256.update(json.dumps([name, "F32", tensors[name].shape], separators=(",", ":")).encode())
        sha256.update(tensors[name].tobytes())
    assert weight_digest(pristine, "audio.audio.") == sha256.hexdigest()


def test_progress_adds_up(pristine: Path) -> None:
    done: list[int] = []
    weight_digest(pristine, "llm.", done.append)
    assert sum(done) == sum(v.nbytes for n, v in load_file(pristine / WEIGHTS_FILE).items() if n.startswith("llm."))


@pytest.mark.parametrize(
    ("tensor", "towers"),
    [
        ("vision.vpm.post_layernorm.bias", {"vision"}),
        ("vision.resampler.query", {"vision"}),
        ("audio.audio.blocks.1.attn.key.weight", {"audio"}),
        ("llm.model.norm.weight", set()),
    ],
)
def test_one_flipped_bit_changes_its_own_tower_only(tiny: Path, tensor: str, towers: set[str]) -> None:
    before = fingerprints(tiny)
    tensors = load_file(tiny / WEIGHTS_FILE)
    tensors[tensor].view(np.uint32).flat[-1] ^= 1
    save_file(tensors, tiny / WEIGHTS_FILE)
    assert changed(before, fingerprints(tiny)) == towers


@pytest.mark.parametrize(
    ("section", "update", "towers"),
    [
        ("slicing", {"max_slices": 4}, {"vision"}),
        ("slicing", {"scale_resolution": 224}, {"vision"}),
        ("vision", {"layer_norm_eps": 1e-5}, {"vision"}),
        ("resampler", {"num_attention_heads": 8}, {"vision"}),
        ("audio", {"avg_pool": False}, {"audio"}),
        ("audio", {"n_head": 4}, {"audio"}),
        ("llm", {"rope_theta": 5.0}, set()),
        ("prompt", {"after_image": ""}, set()),
    ],
)
def test_settings_change_their_own_tower_only(
    tiny: Path, section: str, update: dict[str, object], towers: set[str]
) -> None:
    before = fingerprints(tiny)
    edit_config(tiny, section, **update)
    assert changed(before, fingerprints(tiny)) == towers


@pytest.mark.parametrize("tower", TOWERS)
def test_the_type_that_a_tower_runs_in_matters(pristine: Path, tower: EncoderTower) -> None:
    assert fingerprint(pristine, tower, "float32") != fingerprint(pristine, tower, "bfloat16")


def test_towers_differ_and_a_copy_does_not(pristine: Path, tiny: Path) -> None:
    before = fingerprints(pristine)
    assert before["vision"] != before["audio"]
    assert fingerprints(tiny) == before


def test_how_tensors_are_spread_over_files_does_not_matter(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trichord.checkpoint.initialize.MAX_SHARD_BYTES", 500_000)
    init(PRESETS["tiny"], tmp_path / "sharded", seed=0)
    assert (tmp_path / "sharded" / INDEX_FILE).exists()
    assert fingerprints(tmp_path / "sharded") == fingerprints(pristine)


def test_the_combined_digest_depends_on_every_tower() -> None:
    digests = {combined_digest({"llm": a, "vision": b, "audio": c}) for a, b, c in ("111", "211", "121", "112")}
    assert len(digests) == 4
