"""What a query of the resampler learns to say of a picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from trichord.checkpoint.presets import PRESETS
from trichord_training.base import Base
from trichord_training.captions import UNSAID, caption, caption_vocabulary
from trichord_training.pictures import COLOURS, SHAPES, WORDS, Thing

things = st.one_of(
    st.builds(Thing, st.just("shape"), st.sampled_from(SHAPES), st.sampled_from(sorted(COLOURS))),
    st.builds(Thing, st.just("word"), st.sampled_from(WORDS), st.sampled_from(sorted(COLOURS))),
    st.builds(Thing, st.just("number"), st.integers(0, 9999).map(str), st.sampled_from(sorted(COLOURS))),
)


def said(ids: list[int], tokenizer: Tokenizer) -> str:
    assert all(token == UNSAID for token in ids[ids.index(UNSAID) :]) if UNSAID in ids else True
    return str(tokenizer.decode([token for token in ids if token != UNSAID]))


@given(thing=things)
def test_a_caption_says_colour_kind_and_text_and_ends(base: Base, thing: Thing) -> None:
    ids = caption(thing, base.tokenizer, 8)
    kind = {"shape": thing.name, "number": f"number{thing.name}", "word": f"word {thing.name}"}[thing.kind]
    assert said(ids, base.tokenizer) == f" {thing.colour} {kind}."
    assert len(ids) == 8


@given(thing=things)
def test_every_token_of_a_caption_is_in_the_vocabulary(base: Base, thing: Thing) -> None:
    assert {*caption(thing, base.tokenizer, 8)} - {UNSAID} <= {*caption_vocabulary(base.tokenizer)}


def test_the_vocabulary_has_no_token_that_nothing_says(base: Base) -> None:
    every = [Thing("shape", name, "red") for name in SHAPES] + [Thing("word", name, "red") for name in WORDS]
    every += [Thing("number", "0123456789", colour) for colour in COLOURS]
    captions = {token for thing in every for token in caption(thing, base.tokenizer, 16)} - {UNSAID}
    assert captions == set(caption_vocabulary(base.tokenizer))


def test_a_tokenizer_that_splits_a_colour_is_refused(base: Base) -> None:
    with pytest.raises(ValueError, match="tokens; a query says one"):
        caption(Thing("shape", "circle", "crimson"), base.tokenizer, 8)


@pytest.mark.smol
def test_the_demo_has_a_query_for_every_token(smol: Path) -> None:
    tokenizer = Tokenizer.from_file(str(smol / "tokenizer.json"))
    queries = PRESETS["demo"].resampler.num_queries
    longest = [Thing("number", "9876", colour) for colour in COLOURS] + [Thing("word", name, "red") for name in WORDS]
    assert {len(caption(thing, tokenizer, queries)) for thing in longest} == {queries}
