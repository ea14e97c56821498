"""The engine's side: which tokens may come next in an answer that is held to a schema.

Knows token ids and the matcher; knows nothing of batches or of sampling.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from llm_decoder.grammar.compiling import compile_schema
from llm_decoder.grammar.schema import CANNOT_ENFORCE, FIELD
from llm_decoder.prompt import PromptTemplate
from llm_decoder.vocabulary import Vocabulary
from trichord.checkpoint.tokenizer import TOKENIZER_FILE
from trichord.errors import RequestError
from trichord.model_config import ModelConfig


class Constraint:
    """One answer's way through a grammar. Follows the answer as it is told of it; preemption does not touch it."""

    def __init__(self, matcher: LLMatcher, vocab_size: int) -> None:
        """Takes ``matcher`` over, which is at the start of an answer."""
        self._matcher, self._vocab_size = matcher, vocab_size
        self._num_followed = 0

    def __call__(self, output_ids: Sequence[int]) -> Tensor:
        """A bool mask [V] of the tokens that may follow ``output_ids``; an end of the turn only after a whole answer.

        Every call's ``output_ids`` begin with those of the call before. Raises RequestError if the grammar turns out to
        be too complex on the way.
        """
        new_ids = list(output_ids[self._num_followed :])
        self._num_followed = len(output_ids)
        self._matcher.consume_tokens(new_ids)
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():
            raise RequestError("The schema is too complex to be enforced any further. Simplify it.")
        return torch.from_numpy(np.unpackbits(bits, count=self._vocab_size, bitorder="little").view(np.bool_))


class Grammars:
    """Compiles schemas over one vocabulary."""

    def __init__(self, tokenizer_json: str, vocab_size: int, stop_ids: Collection[int]) -> None:
        """``vocab_size`` is the width of the logits; ``stop_ids`` end a turn."""
        self._tokenizer = LLTokenizer(tokenizer_json, n_vocab=vocab_size, eos_token=list(stop_ids))
        self._vocab_size = vocab_size

    @classmethod
    def read(cls, checkpoint: Path) -> Grammars:
        """Of a checkpoint's vocabulary. Raises CheckpointError."""
        config = ModelConfig.read(checkpoint)
        template = PromptTemplate(config.prompt, Vocabulary.read(checkpoint, config.llm.vocab_size))
        return cls((checkpoint / TOKENIZER_FILE).read_text(encoding="utf-8"), config.llm.vocab_size, template.stop_ids)

    def constraints(self, schema: str, count: int) -> Sequence[Constraint | None]:
        """A constraint for each of ``count`` answers to one request; None for free text, which is the empty schema.

        Raises RequestError if the schema cannot be enforced. Takes 1 to 5 ms, 0.5 s at most: nothing is kept for later,
        because answers that share a compiled grammar share its budget of states, and fail together.
        """
        if not schema:
            return [None] * count
        matcher = compile_schema(schema, self._tokenizer)
        if matcher is None:
            raise RequestError(CANNOT_ENFORCE, field=FIELD)
        return [Constraint(matcher.deep_copy(), self._vocab_size) for _ in range(count)]
