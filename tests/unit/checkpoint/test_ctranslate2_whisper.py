"""The CTranslate2 reader: names, the fused attention, and files that lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.checkpoint.ctranslate2_writer import WIDTH, model, numbers, one_layer, write
from trichord.checkpoint.ctranslate2_whisper import encoder_tensors, read_variables
from trichord.checkpoint.layout import tensor_shapes
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError


def test_the_encoders_tensors_have_our_names_and_shapes(tmp_path: Path) -> None:
    tensors = encoder_tensors(write(tmp_path, model(one_layer())))
    tiny = PRESETS["tiny"]
    audio = tiny.audio.model_copy(update={"n_state": WIDTH, "n_layer": 1, "add_bos_eos": False})
    expected = tensor_shapes(tiny.model_copy(update={"audio": audio}))
    expected = {n: s for n, s in expected.items() if n.startswith("audio.") and ".proj." not in n}
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected


def test_values_are_where_they_belong(tmp_path: Path) -> None:
    variables = one_layer()
    tensors = encoder_tensors(write(tmp_path, model(variables)))
    weight, bias = (variables[f"encoder/layer_0/self_attention/linear_0/{leaf}"] for leaf in ("weight", "bias"))
    for i, leaf in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(tensors[f"audio.audio.blocks.0.attn.{leaf}.weight"], weight[4 * i : 4 * i + 4])
    np.testing.assert_array_equal(tensors["audio.audio.blocks.0.attn.query.bias"], bias[:4])
    np.testing.assert_array_equal(tensors["audio.audio.blocks.0.attn.value.bias"], bias[8:])
    np.testing.assert_array_equal(
        tensors["audio.audio.blocks.0.mlp_ln.weight"], variables["encoder/layer_0/ffn/layer_norm/gamma"]
    )
    np.testing.assert_array_equal(tensors["audio.audio.ln_post.bias"], variables["encoder/layer_norm/beta"])


def test_a_key_with_a_bias_is_refused(tmp_path: Path) -> None:
    variables = one_layer()
    variables["encoder/layer_0/self_attention/linear_0/bias"][WIDTH] = 1
    with pytest.raises(CheckpointError, match="keys have a bias"):
        encoder_tensors(write(tmp_path, model(variables)))


@pytest.mark.parametrize(
    "content",
    [
        model({}, version=7),
        model({}, specification="TransformerSpec"),
        model({})[:-4] + (1 << 31).to_bytes(4, "little"),
        model({"a": numbers(2)}).replace(bytes([1, 2, 0, 0, 0, 4]), bytes([1, 2, 0, 0, 0, 9])),
        model({"a": numbers(2)}).replace(bytes([1, 2, 0, 0, 0, 4]), bytes([1, 3, 0, 0, 0, 4])),
        model({"a": numbers(2)}).replace(bytes([1, 2, 0, 0, 0, 4]), bytes([99, 2, 0, 0, 0, 4])),
    ],
    ids=["version", "specification", "count", "type", "size", "dimensions"],
)
def test_what_does_not_agree_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CheckpointError):
        read_variables(write(tmp_path, content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 2000))
def test_a_truncated_file_is_refused(tmp_path: Path, length: int) -> None:
    whole = model(one_layer())
    with pytest.raises(CheckpointError, match="truncated"):
        read_variables(write(tmp_path, whole[: min(length, len(whole) - 1)]))
