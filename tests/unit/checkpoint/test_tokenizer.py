"""Tokenizers that we make: any text survives, and text never becomes a special token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trichord.checkpoint.presets import PRESETS
from trichord.checkpoint.tokenizer import (
    MAX_TOKENIZER_BYTES,
    TOKENIZER_FILE,
    byte_level_bpe,
    bytes_tokenizer,
    check_tokenizer,
    special_tokens,
)
from trichord.errors import CheckpointError

TINY = PRESETS["tiny"]
SPECIALS = special_tokens(TINY.prompt)
BYTES = bytes_tokenizer(SPECIALS)


@given(st.text())
def test_any_text_survives_and_costs_its_bytes(text: str) -> None:
    ids = BYTES.encode(text).ids
    assert BYTES.decode(ids, skip_special_tokens=False) == text
    assert len(ids) == len(text.encode())


@pytest.mark.parametrize("token", SPECIALS)
def test_a_special_token_is_one_id_unless_it_is_text(token: str) -> None:
    literal = Tokenizer.from_str(BYTES.to_str())
    literal.encode_special_tokens = True
    assert BYTES.encode(token).ids == [256 + SPECIALS.index(token)]
    assert len(literal.encode(token).ids) == len(token)


def test_merges_and_digits() -> None:
    tokens = ["1", "2", "a", "b", "ab", "12", "<s>"]
    merges = [("a", "b"), ("1", "2")]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    whole = byte_level_bpe(vocabulary, merges, ["<s>"], split_digits=False)
    split = byte_level_bpe(vocabulary, merges, ["<s>"], split_digits=True)
    assert whole.encode("<s>ab12").tokens == ["<s>", "ab", "12"]
    assert split.encode("<s>ab12").tokens == ["<s>", "ab", "1", "2"]


@pytest.mark.parametrize("name", PRESETS)
def test_special_tokens_are_all_that_prompts_name(name: str) -> None:
    prompt = PRESETS[name].prompt
    found = special_tokens(prompt)
    assert len(found) == len(set(found))
    assert {prompt.placeholder, prompt.image_start, prompt.slice_end, prompt.audio_start, *prompt.stop_tokens} <= {
        *found
    }
    assert {piece for piece in prompt.turn if "|" in piece} <= {*found}
    assert not {"{role}", "{content}", "\n", "assistant"} & {*found}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "missing or larger"),
        ("{}", "not a tokenizer"),
        ("\x80", "not a tokenizer"),
        (bytes_tokenizer(SPECIALS[1:]).to_str(), "no special token <|turn_end|>"),
        (bytes_tokenizer([*SPECIALS, *(f"<{i}>" for i in range(99))]).to_str(), "ids beyond"),
    ],
    ids=["none", "empty", "binary", "a token short", "too many"],
)
def test_a_tokenizer_that_does_not_fit_is_an_error(tiny: Path, content: str | None, words: str) -> None:
    (tiny / TOKENIZER_FILE).unlink()
    if content is not None:
        (tiny / TOKENIZER_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=words.replace("|", r"\|")):
        check_tokenizer(tiny, TINY)


def test_a_token_that_is_not_special_does_not_count(tiny: Path) -> None:
    tokenizer = json.loads((tiny / TOKENIZER_FILE).read_text())
    for added in tokenizer["added_tokens"]:
        added["special"] = added["content"] != "<|audio_end|>"
    (tiny / TOKENIZER_FILE).write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match=r"audio_end"):
        check_tokenizer(tiny, TINY)


def test_a_huge_file_is_not_read(tiny: Path) -> None:
    with (tiny / TOKENIZER_FILE).open("r+b") as file:
        file.truncate(MAX_TOKENIZER_BYTES + 1)  # sparse
    with pytest.raises(CheckpointError, match="larger than"):
        check_tokenizer(tiny, TINY)
