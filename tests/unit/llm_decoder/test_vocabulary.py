from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from llm_decoder import vocabulary as module
from llm_decoder.vocabulary import Vocabulary
from trichord.errors import CheckpointError


@given(text=st.text())
def test_tokens_spell_the_text(vocabulary: Vocabulary, text: str) -> None:
    ids = vocabulary.encode(text)
    assert b"".join(map(vocabulary.token_bytes, ids)) == text.encode()


def test_byte_alphabet_is_the_librarys() -> None:
    assert set(module._BYTE_OF) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(module._BYTE_OF.values()) == list(range(256))


def test_special_and_unused_tokens_are_no_text(vocabulary: Vocabulary) -> None:
    assert vocabulary.token_bytes(vocabulary.special_ids["<|turn_end|>"]) == b""
    assert vocabulary.token_bytes(10_000_000) == b""


def test_an_added_token_reads_as_it_is_written() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([AddedToken("two words 你", special=False)])
    vocabulary = Vocabulary(tokenizer)
    (token_id,) = vocabulary.encode("two words 你")
    assert vocabulary.token_bytes(token_id).decode() == "two words 你"


def test_names_of_special_tokens_are_literals(vocabulary: Vocabulary) -> None:
    for name in vocabulary.special_ids:
        ids = vocabulary.encode(f"a{name}b")
        assert not set(ids) & set(vocabulary.special_ids.values())
        assert b"".join(map(vocabulary.token_bytes, ids)).decode() == f"a{name}b"


def test_truncation_and_padding_of_the_file_are_off(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert len(Vocabulary.read(tmp_path, 300).encode("0123456789")) == 10


def test_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer.json"):
        Vocabulary.read(tmp_path, 300)


def test_the_file_is_too_large(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOKENIZER_BYTES", 10)
    with pytest.raises(CheckpointError, match="larger than 10 bytes"):
        Vocabulary.read(tiny, 300)


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"model": {"type": "Nonsense"}})])
def test_the_file_is_not_a_tokenizer(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"not a tokenizer") as error:
        Vocabulary.read(tmp_path, 300)
    assert str(tmp_path) not in error.value.message


def test_an_id_beyond_the_embedding_table(tiny: Path) -> None:
    with pytest.raises(CheckpointError, match=r"llm\.vocab_size is 260"):
        Vocabulary.read(tiny, 260)


def test_a_decoder_that_is_not_byte_level() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.decoder = decoders.Metaspace()
    with pytest.raises(CheckpointError, match="ByteLevel"):
        Vocabulary(tokenizer)


def test_a_model_that_lets_text_forge_a_special_token() -> None:
    tokenizer = Tokenizer(models.WordLevel({"<|turn_end|>": 0, "?": 1}, unk_token="?"))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|turn_end|>"])
    with pytest.raises(CheckpointError, match=r"'<\|turn_end\|>' encodes as the special token itself"):
        Vocabulary(tokenizer)


def byte_tokenizer() -> Tokenizer:
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
