"""A base to train from that is made in a moment: random, and small, with a token for every word of a caption."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer

from trichord.checkpoint.initialize import write_checkpoint
from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.model_config import ModelConfig
from trichord_training import fonts, questions
from trichord_training.base import Base
from trichord_training.clips import Clip, write_clips
from trichord_training.pictures import COLOURS, SHAPES, WORDS
from trichord_training.spoken_vocabulary import spoken_vocabulary

CPU = torch.device("cpu")
SPOKEN = ("one two", "the dog slept", "seven", questions.GENERAL[0].text, questions.ABOUT_PICTURES["colour"][0])


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base_config() -> ModelConfig:
    """Preset tiny with the demo's pictures and room for the words of captions."""
    tiny, demo = PRESETS["tiny"], PRESETS["demo"]
    return tiny.model_copy(
        update={
            "slicing": demo.slicing,
            "resampler": tiny.resampler.model_copy(update={"num_queries": 8}),
            "llm": tiny.llm.model_copy(update={"vocab_size": 320, "rope_theta": 100_000.0}),
        }
    )


@pytest.fixture(scope="session")
def config(base_config: ModelConfig, base: Base) -> ModelConfig:
    """What is taught: it has a codebook besides, as the demo has."""
    size = len(spoken_vocabulary(base.tokenizer)) + 1
    audio = base_config.audio.model_copy(update={"codebook_size": size})
    return base_config.model_copy(update={"audio": audio})


@pytest.fixture(scope="session")
def base(base_config: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Seeded random tensors, and a tokenizer of bytes and words."""
    directory = tmp_path_factory.mktemp("base")
    write_checkpoint(base_config, directory, seed=1)
    path = directory / TOKENIZER_FILE
    tokenizer = Tokenizer.from_file(str(path))
    words = [f" {name}" for name in (*COLOURS, *SHAPES, *WORDS, "number", "word")]
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer.save(str(path))
    return Base(directory, tokenizer)


@pytest.fixture(scope="module")
def fonts_to_train_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One font in the place of Debian's, which not every machine has."""
    directory = tmp_path_factory.mktemp("fonts")
    (directory / "truetype" / "hack").mkdir(parents=True)
    shutil.copy(Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSansMono.ttf", directory / "truetype" / "hack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fonts, "DEBIAN_FONTS", directory)
        fonts.font_files.cache_clear()
        yield
    fonts.font_files.cache_clear()


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of clips that hold noise: nothing here listens to what they say."""
    directory = tmp_path_factory.mktemp("runs") / "clips"
    directory.mkdir()
    rng = np.random.default_rng(0)
    clips = [
        Clip(text, rng.integers(-9000, 9000, 6400 + 640 * place).astype(np.int16)) for place, text in enumerate(SPOKEN)
    ]
    write_clips(directory / "train-000.npz", clips)
    write_clips(directory / "validation-000.npz", clips)
    return directory
