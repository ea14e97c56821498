"""A schema to a matcher, within limits: the one place that calls the compiler, for the trial and for the engine.

The compiler counts its own work ("fuel") instead of time, so that a schema fares alike on every machine. Imports
little: every trial begins with it.
"""

from __future__ import annotations

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

LIMITS = LLParserLimits(
    initial_lexer_fuel=500_000,  # about 10 ms
    step_lexer_fuel=100_000,  # about 7 ms: a mask holds the whole batch up
    step_max_items=10_000,
    max_items_in_row=4_000,  # enough for ``schema.MAX_SUBSCHEMAS`` optional properties
    max_lexer_states=20_000,  # 1 to 2 KB each, for each request
    max_grammar_size=50_000,
    verbose_errors=False,
)

FIRST_TOKENS = 3
"""How far into an answer a schema is tried."""

WHITESPACE = r"[\x20\x0A\x0D\x09]{1,16}"
"""Between the tokens of JSON: enough to indent with, and an end to it."""


def compile_schema(schema: str, tokenizer: LLTokenizer) -> LLMatcher | None:
    """A matcher at the start of an answer; None if the schema cannot be enforced within the limits.

    ``schema`` is from ``schema.canonical``, which checked what the compiler would let pass.
    """
    try:
        grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": WHITESPACE})
    except ValueError:  # half of a surrogate pair: text for Python, none for the compiler
        return None
    matcher = LLMatcher(tokenizer, grammar, log_level=0, limits=LIMITS)
    return matcher if _can_begin(matcher.deep_copy()) else None


def _can_begin(matcher: LLMatcher) -> bool:
    """Whether some answer's first tokens can be masked: contradictions and excesses show only there."""
    for _ in range(FIRST_TOKENS):
        allowed = int.from_bytes(matcher.compute_bitmask(), "little")
        if not allowed or not matcher.consume_token((allowed & -allowed).bit_length() - 1):
            break
    return not matcher.is_error()
