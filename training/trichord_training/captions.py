"""A picture's caption as tokens in fixed places: what each query of the resampler learns to say in the first phase.

Query 0 says the colour, query 1 the shape or what kind of text it is, the following the text itself, and the next that
it has ended. Knows no model.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from trichord_training.pictures import COLOURS, SHAPES, WORDS, Thing

UNSAID = -100
"""Place of a query that may say anything; torch's mark for what no loss counts."""

END = "."


def caption(thing: Thing, tokenizer: Tokenizer, num_queries: int) -> list[int]:
    """Token of each query. The text of a number is its digits, that of a word its tokens."""
    ids = [_one(tokenizer, f" {thing.colour}")]
    if thing.kind == "shape":
        ids.append(_one(tokenizer, f" {thing.name}"))
    else:
        ids.append(_one(tokenizer, f" {thing.kind}"))
        text = thing.name if thing.kind == "number" else f" {thing.name}"
        ids += tokenizer.encode(text, add_special_tokens=False).ids
    ids.append(_one(tokenizer, END))
    return ids + [UNSAID] * (num_queries - len(ids))


def caption_vocabulary(tokenizer: Tokenizer) -> list[int]:
    """Every token that a caption may have, ascending."""
    texts: list[str] = [END, " number", " word", *"0123456789"]
    texts += [f" {name}" for name in (*COLOURS, *SHAPES, *WORDS)]
    return sorted({token for text in texts for token in tokenizer.encode(text, add_special_tokens=False).ids})


def _one(tokenizer: Tokenizer, text: str) -> int:
    ids: Sequence[int] = tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) != 1:
        raise ValueError(f"{text!r} is {len(ids)} tokens; a query says one.")
    return ids[0]
