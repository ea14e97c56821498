"""A checkpoint's vocabulary: text to token ids, and token ids to bytes.

Wraps the byte-level BPE of ``tokenizer.json`` so that text is only ever text: the name of a special token inside it is
spelled out in ordinary tokens. Knows nothing of templates, of media, or of streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel

from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.errors import CheckpointError

MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
"""A vocabulary of 120 000 with its merges takes about 8 MB."""


class Vocabulary:
    """The tokens of one checkpoint."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Takes the tokenizer over. Raises CheckpointError if text could forge a special token."""
        if not isinstance(tokenizer.decoder, ByteLevel):
            raise CheckpointError(f"{TOKENIZER_FILE}: decoder: only ByteLevel is supported.")
        tokenizer.no_truncation()
        tokenizer.no_padding()
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self.special_ids: Mapping[str, int] = {token.content: i for i, token in added.items() if token.special}
        """Ids of the special tokens by name."""
        self._hidden_ids = frozenset(self.special_ids.values())
        for name, token_id in self.special_ids.items():
            if token_id in self.encode(name):
                raise CheckpointError(f"{TOKENIZER_FILE}: the text {name!r} encodes as the special token itself.")

    @classmethod
    def read(cls, checkpoint: Path, vocab_size: int) -> Vocabulary:
        """Reads ``checkpoint/tokenizer.json``, as data only.

        Raises CheckpointError if there is none, if it is not a tokenizer, or if an id does not fit the embedding
        table's ``vocab_size`` rows.
        """
        tokenizer = _parse(_read(checkpoint / TOKENIZER_FILE))
        largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if largest >= vocab_size:
            raise CheckpointError(f"config.json: llm.vocab_size is {vocab_size}; {TOKENIZER_FILE} has id {largest}.")
        return cls(tokenizer)

    def encode(self, text: str) -> list[int]:
        """The ids of a text, none of them special. Releases the interpreter lock while it works."""
        (encoding,) = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return encoding.ids

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that a token stands for, which may be part of a character; none for a special or unused id."""
        token = self._tokenizer.id_to_token(token_id)
        if token is None or token_id in self._hidden_ids:
            return b""
        if any(character not in _BYTE_OF for character in token):
            return token.encode()  # an added token, written as it reads
        return bytes(_BYTE_OF[character] for character in token)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise CheckpointError(f"{TOKENIZER_FILE} is larger than {MAX_TOKENIZER_BYTES} bytes.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no {TOKENIZER_FILE} in {path.parent.name}. Pull or init it first.") from error


def _parse(data: bytes) -> Tokenizer:
    try:
        return Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{TOKENIZER_FILE} is not a tokenizer in Hugging Face's format.") from error


def _byte_alphabet() -> dict[str, int]:
    """Byte of each character that stands for one in a byte-level vocabulary (GPT-2, Radford et al. 2019, section 2.2).

    Bytes that print in Latin-1 stand for themselves; the others are numbered from U+0100.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()
