"""Token ids to text, as they come: never half a character.

A byte-level token may hold part of a character, so bytes wait in a UTF-8 decoder until they are whole: at most three,
however long the answer. Knows nothing of stop strings.
"""

from __future__ import annotations

import codecs

from llm_decoder.vocabulary import Vocabulary


class Detokenizer:
    """The text of one answer."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The text that this token completes; bytes that no character begins with or goes on with are U+FFFD."""
        return self._decoder.decode(self._vocabulary.token_bytes(token_id))

    def flush(self) -> str:
        """What is left when no more tokens come: U+FFFD for an unfinished character, or nothing."""
        return self._decoder.decode(b"", final=True)
