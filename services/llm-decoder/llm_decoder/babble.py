"""What a simulated answer says: that it is simulated, then words drawn by chance.

Knows a vocabulary; knows nothing of sequences, or of how long a token takes.
"""

from __future__ import annotations

import re

from llm_decoder.vocabulary import Vocabulary

OPENING = "[simulated]"
"""How every answer begins."""

_WORD, _LETTER = re.compile(rb" [a-z]+"), re.compile(rb"[a-z ]")


class Babble:
    """The tokens of simulated answers in one vocabulary."""

    def __init__(self, vocabulary: Vocabulary, vocab_size: int) -> None:
        """``vocab_size`` counts the rows of the embedding table, as ``Vocabulary.read`` does."""
        self.opening_ids = vocabulary.encode(OPENING)
        pieces = {token_id: vocabulary.token_bytes(token_id) for token_id in range(vocab_size)}
        words = [token_id for token_id, piece in pieces.items() if _WORD.fullmatch(piece)]
        letters = [token_id for token_id, piece in pieces.items() if _LETTER.fullmatch(piece)]
        self.word_ids = words or letters

    def token_id(self, index: int, draw: int) -> int:
        """Token ``index`` of an answer; ``draw`` >= 0, as random as the words shall be."""
        if index < len(self.opening_ids):
            return self.opening_ids[index]
        return self.word_ids[draw % len(self.word_ids)]
