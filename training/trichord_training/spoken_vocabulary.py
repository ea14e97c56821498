"""Every word that is ever spoken, and the tokens that write it. Knows no grammar but its words."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import Tokenizer

from trichord_training import lexicon, questions, sentences


def spoken_words() -> frozenset[str]:
    """All words of sentences, digits and questions."""
    return frozenset(_words())


def spoken_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """How a text is written: every word with the space before it."""
    return list(tokenizer.encode(f" {text}", add_special_tokens=False).ids)


def spoken_vocabulary(tokenizer: Tokenizer) -> list[int]:
    """Every token that a transcript may have, ascending."""
    return sorted({token for word in spoken_words() for token in spoken_tokens(tokenizer, word)})


def _words() -> Iterator[str]:
    for name, words in vars(lexicon).items():
        if name.isupper():
            yield from words
    yield from sentences.PLURALS
    yield from sentences.FUNCTION_WORDS
    for question in questions.GENERAL:
        yield from question.text.split()
    for ways in questions.ABOUT_PICTURES.values():
        for way in ways:
            yield from way.split()
