"""A simulated model is never taken for the real one: name, fingerprints, rows, and a checkpoint without weights."""

import ml_dtypes
import numpy as np
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.digest import fingerprint as real_fingerprint
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS
from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig
from trichord.served_model import served_config, served_fingerprint
from trichord.settings import FrontSettings
from trichord.simulation import identity
from trichord.simulation.checkpoint import write_weightless
from trichord.simulation.rows import MARK, made_by, seeded_rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoints") / "tiny"
    init(PRESETS["tiny"], directory, seed=0)
    return directory


@pytest.fixture
def weightless(tmp_path):
    write_weightless(PRESETS["tiny"], tmp_path / "weightless")
    return tmp_path / "weightless"


def front(checkpoint, **changes):
    return FrontSettings(checkpoint=checkpoint, triton="127.0.0.1:1", **changes)


def test_a_real_model_keeps_its_name_and_fingerprint(tiny):
    settings = front(tiny)
    config = served_config(settings)
    assert config == PRESETS["tiny"]
    assert served_fingerprint(settings, config, "vision") == real_fingerprint(tiny, "vision", "float32")


def test_a_simulated_one_has_others_and_needs_no_weights(tiny, weightless):
    settings = front(weightless, backend="simulated")
    config = served_config(settings)
    assert config == PRESETS["tiny"].model_copy(update={"model": "tiny-simulated"})
    prints = {served_fingerprint(settings, config, tower) for tower in ("vision", "audio")}
    assert len(prints) == 2
    assert not prints & {real_fingerprint(tiny, tower, "float32") for tower in ("vision", "audio")}
    with pytest.raises(CheckpointError):
        served_fingerprint(front(weightless), PRESETS["tiny"], "vision")


def test_simulated_fingerprints_tell_models_and_types_apart():
    tiny, smol = (identity.simulated(PRESETS[name]) for name in ("tiny", "smol"))
    same_towers = smol.model_copy(update={"model": "other-simulated"})
    prints = [
        identity.fingerprint(config, tower, dtype)
        for config in (tiny, smol, same_towers)
        for tower in ("vision", "audio")
        for dtype in ("float32", "bfloat16")
    ]
    assert len(set(prints)) == len(prints)


def test_a_front_says_in_its_log_that_its_model_is_simulated(weightless):
    with structlog.testing.capture_logs() as logs:
        served_config(front(weightless))
        assert logs == []
        served_config(front(weightless, backend="simulated"))
    assert [(entry["log_level"], entry["model"]) for entry in logs] == [("warning", "tiny-simulated")]


def test_a_weightless_checkpoint_is_config_and_tokenizer(weightless):
    config = ModelConfig.read(weightless)
    assert config == PRESETS["tiny"]
    assert Vocabulary.read(weightless, config.llm.vocab_size).encode("four") != []
    assert {path.name for path in weightless.iterdir()} == {"config.json", "tokenizer.json"}


@given(st.binary(max_size=64), st.integers(1, 20), st.integers(8, 64))
def test_rows_are_seeded_marked_and_of_their_shape(content, num_rows, hidden_size):
    rows = seeded_rows(content, num_rows, hidden_size)
    assert rows.shape == (num_rows, hidden_size)
    assert np.isfinite(rows).all()
    assert np.array_equal(rows, seeded_rows(content, num_rows, hidden_size))
    assert made_by("simulated", rows)
    assert not made_by("torch", rows)


def test_other_content_has_other_rows():
    rows = [seeded_rows(content, 4, 64)[:, len(MARK) :] for content in (b"", b"a", b"b")]
    assert len({row.tobytes() for row in rows}) == 3


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_the_mark_survives_every_type_and_nothing_else_has_it(dtype):
    marked = seeded_rows(b"x", 3, 32).astype(dtype)
    assert made_by("simulated", marked)
    one_spoilt = marked.copy()
    one_spoilt[1, 3] = 0.5
    for rows in (one_spoilt, np.zeros((3, 32), dtype), np.ones((3, 32), dtype)):
        assert made_by("torch", rows)
        assert not made_by("simulated", rows)
