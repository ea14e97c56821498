"""``tokenizer.json``: makes and checks byte-level BPE, the kind that Megrez and SmolLM2 both are.
Knows no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from trichord.errors import CheckpointError
from trichord.model_config import ModelConfig, PromptConfig

TOKENIZER_FILE = "tokenizer.json"
MAX_TOKENIZER_BYTES = 64 * 1024 * 1024


def special_tokens(prompt: PromptConfig) -> list[str]:
    """Every special token that prompts are made of, each once: the stops, ``<...>`` in the template, the media's."""
    media = (prompt.placeholder, prompt.image_start, prompt.image_end, prompt.slice_start, prompt.slice_end)
    named = [piece for piece in (*prompt.turn, *prompt.answer_opening) if piece.startswith("<") and piece.endswith(">")]
    return list(dict.fromkeys([*prompt.stop_tokens, *named, *media, prompt.audio_start, prompt.audio_end]))


def byte_level_bpe(
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    specials: Sequence[str],
    *,
    split_digits: bool,
) -> Tokenizer:
    """A tokenizer that encodes any text and decodes it back unchanged.

    ``vocabulary`` has the special tokens too; ``split_digits`` makes each digit a token of its own, as SmolLM2 does.
    """
    tokenizer = Tokenizer(models.BPE(dict(vocabulary), list(merges)))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if split_digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer


def bytes_tokenizer(specials: Sequence[str]) -> Tokenizer:
    """One token for each byte, and the special tokens after them."""
    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *specials]
    return byte_level_bpe({token: i for i, token in enumerate(tokens)}, [], specials, split_digits=False)


def check_tokenizer(checkpoint: Path, config: ModelConfig) -> None:
    """Raises CheckpointError if ``tokenizer.json`` is broken, too large, or lacks a special token of the config."""
    path = checkpoint / TOKENIZER_FILE
    if not path.is_file() or path.stat().st_size > MAX_TOKENIZER_BYTES:
        raise CheckpointError(f"{TOKENIZER_FILE} is missing or larger than {MAX_TOKENIZER_BYTES} bytes.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise CheckpointError(f"{TOKENIZER_FILE} is not a tokenizer in Hugging Face's format.") from error
    if max(tokenizer.get_vocab().values(), default=0) >= config.llm.vocab_size:
        raise CheckpointError(f"{TOKENIZER_FILE} has ids beyond config.json's llm.vocab_size.")
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    if missing := [token for token in special_tokens(config.prompt) if token not in special]:
        raise CheckpointError(f"{TOKENIZER_FILE} has no special token {missing[0]}, which config.json's prompt names.")
