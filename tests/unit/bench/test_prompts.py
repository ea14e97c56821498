from pathlib import Path

import pytest

from bench.prompts import PASSAGE, Prompts
from llm_decoder.conversation import Message
from llm_decoder.prompt import PromptTemplate
from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.initialize import init
from trichord.checkpoint.presets import PRESETS

CONFIG = PRESETS["tiny"]
BLOCK_SIZE = 64  # a byte a token: what tells prompts apart stands further on than with words


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny"
    init(CONFIG, directory, seed=0)
    return directory


@pytest.mark.parametrize("num_tokens", [300, 1999])
def test_prompts_are_exactly_as_long_as_asked_and_the_text_says_the_same(checkpoint: Path, num_tokens: int):
    template = PromptTemplate(CONFIG.prompt, Vocabulary.read(checkpoint, CONFIG.llm.vocab_size))
    for prompt in Prompts(checkpoint).take(3, num_tokens):
        messages = [Message("system", (prompt["system"],)), Message("user", (prompt["user"],))]
        assert len(prompt["ids"]) == num_tokens
        assert template.tokens(messages).ids.tolist() == prompt["ids"]


def test_no_two_prompts_begin_alike(checkpoint: Path):
    prompts = Prompts(checkpoint)
    taken = [*prompts.take(20, 400), *prompts.take(20, 400)]
    assert len({tuple(prompt["ids"][:BLOCK_SIZE]) for prompt in taken}) == 40


def test_the_passage_is_bare_text(checkpoint: Path):
    assert bytes(Prompts(checkpoint).passage_ids(20)).decode() == PASSAGE[:20]
