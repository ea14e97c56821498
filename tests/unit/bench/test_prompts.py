from pathlib import Path

import pytest

from bench.prompts import PASSAGE, Prompts
from llm_decoder.conversation import Message
from llm_decoder.prompt import PromptTemplate
from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.presets import PRESETS

pytestmark = pytest.mark.demo  # prompts are measured in tokens, of which a word is about one

BLOCK_SIZE = 16
"""Positions that engines reuse together."""


@pytest.mark.parametrize("num_tokens", [128, 2000])
def test_prompts_are_exactly_as_long_as_asked_and_the_text_says_the_same(demo: Path, num_tokens: int):
    template = PromptTemplate(PRESETS["demo"].prompt, Vocabulary.read(demo, PRESETS["demo"].llm.vocab_size))
    for prompt in Prompts(demo).take(5, num_tokens):
        messages = [Message("system", (prompt["system"],)), Message("user", (prompt["user"],))]
        assert len(prompt["ids"]) == num_tokens
        assert template.tokens(messages).ids.tolist() == prompt["ids"]


def test_no_two_prompts_begin_alike(demo: Path):
    prompts = Prompts(demo)
    taken = [*prompts.take(20, 128), *prompts.take(20, 128)]
    assert len({tuple(prompt["ids"][:BLOCK_SIZE]) for prompt in taken}) == 40


def test_the_passage_is_bare_text(demo: Path):
    vocabulary = Vocabulary.read(demo, PRESETS["demo"].llm.vocab_size)
    ids = Prompts(demo).passage_ids(100)
    assert len(ids) == 100
    assert PASSAGE.startswith(b"".join(map(vocabulary.token_bytes, ids)).decode())
