"""Prompts of an exact length, none of which begins as another does, so that no engine has seen any of it before.

Laid out by the decoder front's own template and tokenizer: as a conversation for those who take text, as token ids for
those who take ids. Knows nothing of engines.
"""

from __future__ import annotations

from bisect import bisect_right
from pathlib import Path
from typing import TypedDict

from llm_decoder.conversation import Message
from llm_decoder.prompt import PromptTemplate
from llm_decoder.vocabulary import Vocabulary
from trichord.model_config import ModelConfig

PASSAGE = Path(__file__).with_name("passage.txt").read_text()
TASK = "Retell this story in your own words, at great length:"
FILLER = " so"


class Prompt(TypedDict):
    """One conversation, twice."""

    system: str
    user: str
    ids: list[int]
    """Both messages in the model's template, the opening of the answer included."""


class Prompts:
    """An endless supply."""

    def __init__(self, checkpoint: Path) -> None:
        config = ModelConfig.read(checkpoint)
        self._vocabulary = Vocabulary.read(checkpoint, config.llm.vocab_size)
        self._template = PromptTemplate(config.prompt, self._vocabulary)
        self._words = PASSAGE.split()
        self._count = 0

    def take(self, num_prompts: int, num_tokens: int) -> list[Prompt]:
        """So many prompts of so many tokens each."""
        return [self._next(num_tokens) for _ in range(num_prompts)]

    def passage_ids(self, num_tokens: int) -> list[int]:
        """The beginning of the passage, as bare text."""
        return self._vocabulary.encode(PASSAGE)[:num_tokens]

    def _next(self, num_tokens: int) -> Prompt:
        self._count += 1
        system = f"{self._count:06d} is the number of this conversation."
        first = 17 * self._count % len(self._words)
        words = (self._words[first:] + self._words) * (1 + num_tokens // len(self._words))
        story = [f"{TASK} {' '.join(words[:n])}" for n in range(num_tokens)]  # a word is at least a token
        fitting = bisect_right(story, num_tokens, key=lambda user: len(self._ids(system, user)))
        user = story[fitting - 1]
        while len(ids := self._ids(system, user)) < num_tokens:
            user += FILLER
        assert len(ids) == num_tokens, "the filler is one token"
        return Prompt(system=system, user=user, ids=ids)

    def _ids(self, system: str, user: str) -> list[int]:
        messages = [Message("system", (system,)), Message("user", (user,))]
        return list(map(int, self._template.tokens(messages).ids))
