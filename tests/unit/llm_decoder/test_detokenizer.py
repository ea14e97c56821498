from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from llm_decoder.detokenizer import Detokenizer
from llm_decoder.vocabulary import Vocabulary

MAX_ID = 520
"""Some ids above every vocabulary here: a model may choose a row that no token uses."""


@pytest.fixture(scope="module")
def merged(trained: Callable[[str], Tokenizer]) -> tuple[Vocabulary, Tokenizer]:
    """A vocabulary with merges and an added token, and the library's own tokenizer over the same."""
    tokenizer = trained("megrez-3b-omni")
    tokenizer.add_tokens([AddedToken("plain text 你", special=False)])
    return Vocabulary(tokenizer), Tokenizer.from_str(tokenizer.to_str())


def pieces(vocabulary: Vocabulary, ids: Iterable[int]) -> Iterator[str]:
    detokenizer = Detokenizer(vocabulary)
    yield from map(detokenizer.push, ids)
    yield detokenizer.flush()


@given(ids=st.lists(st.integers(0, MAX_ID)))
def test_any_ids_give_the_text_that_the_library_gives(merged: tuple[Vocabulary, Tokenizer], ids: list[int]) -> None:
    vocabulary, reference = merged
    assert "".join(pieces(vocabulary, ids)) == reference.decode(ids)


@given(data=st.binary())
def test_any_bytes_give_the_text_that_the_library_gives(
    vocabulary: Vocabulary, tiny_tokenizer: Tokenizer, data: bytes
) -> None:
    id_of = {vocabulary.token_bytes(i): i for i in range(256)}
    ids = [id_of[bytes([byte])] for byte in data]
    assert "".join(pieces(vocabulary, ids)) == tiny_tokenizer.decode(ids)


@given(text=st.text())
def test_text_comes_back_in_whole_characters(vocabulary: Vocabulary, text: str) -> None:
    """The tiny vocabulary is bytes, so that every character beyond ASCII is split."""
    parts = list(pieces(vocabulary, vocabulary.encode(text)))
    assert "".join(parts) == text
    assert parts[-1] == ""
    assert all(len(part) <= 1 for part in parts)


def test_an_unfinished_character_waits_and_is_replaced_at_the_end(vocabulary: Vocabulary) -> None:
    ids = vocabulary.encode("🙂")[:3]
    assert list(pieces(vocabulary, ids)) == ["", "", "", "\N{REPLACEMENT CHARACTER}"]


def test_definitely_invalid_bytes_are_replaced_at_once(vocabulary: Vocabulary) -> None:
    lead, letter = vocabulary.encode("é")[0], vocabulary.encode("x")[0]
    assert list(pieces(vocabulary, [lead, letter])) == ["", "\N{REPLACEMENT CHARACTER}x", ""]


def test_special_tokens_are_silent_even_inside_a_character(vocabulary: Vocabulary) -> None:
    first, second = vocabulary.encode("é")
    assert list(pieces(vocabulary, [first, vocabulary.special_ids["<|eos|>"], second])) == ["", "", "é", ""]
