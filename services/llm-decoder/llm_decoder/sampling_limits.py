"""How tokens are chosen: a request's wishes, checked and completed.

Knows nothing of how a sampler works.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from llm_decoder.grammar import schema
from trichord import sampling_ranges
from trichord.errors import RequestError
from trichord.v1 import decoder_pb2

DEFAULT_MAX_TOKENS = 1024
"""Tokens of an answer whose request names no limit, where the context leaves as many."""

MAX_BIASES, MAX_BIAS = 1024, 100.0

GREEDY_BELOW = 1e-3
"""Temperatures below this are greedy: they choose the same tokens, and would overflow float32 logits."""


@dataclass(frozen=True)
class Sampling:
    """Every parameter of one answer, in range. Meanings as in decoder.proto's SamplingParams."""

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    seed: int
    min_tokens: int
    ignore_eos: bool
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these token ids."""
    logprobs: int | None = None
    """How many rivals' log-probabilities to tell with each token's own; None tells nothing."""
    num_samples: int = 1
    """Answers to draw, each from a seed of its own: ``seed``, ``seed`` + 1, ..."""
    stop: tuple[str, ...] = ()
    """Matched by the front, which knows text; the engine is not told them."""
    json_schema: str = ""
    """What the answer is valid under, as ``grammar.schema.canonical`` writes it; empty: free text."""


SAMPLING_PARAMETERS = (
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "min_tokens",
    "ignore_eos",
    "num_samples",
    "json_schema",
)
"""What the front tells the engine of ``Sampling``, by the names of its fields."""


def check(params: decoder_pb2.SamplingParams, context_left: int, vocab_size: int) -> Sampling:
    """The parameters of an answer for which the context leaves ``context_left`` >= 1 tokens.

    Raises RequestError naming ``sampling.<field>``.
    """
    sampling_ranges.check(params)
    max_tokens = min(params.max_tokens if params.HasField("max_tokens") else DEFAULT_MAX_TOKENS, context_left)
    if params.min_tokens > max_tokens:
        message = f"min_tokens is at most the answer's limit, here {max_tokens} tokens."
        raise RequestError(message, field="sampling.min_tokens")
    return Sampling(
        max_tokens=max_tokens,
        temperature=params.temperature if params.temperature >= GREEDY_BELOW else 0.0,
        top_k=params.top_k,
        top_p=params.top_p if params.HasField("top_p") else 1.0,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty if params.HasField("repetition_penalty") else 1.0,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        seed=params.seed if params.HasField("seed") else secrets.randbits(63),
        min_tokens=params.min_tokens,
        ignore_eos=params.ignore_eos,
        logit_bias=_logit_bias(params, vocab_size),
        logprobs=params.logprobs if params.HasField("logprobs") else None,
        num_samples=params.n if params.HasField("n") else 1,
        stop=tuple(params.stop),
        json_schema=_json_schema(params),
    )


def _logit_bias(params: decoder_pb2.SamplingParams, vocab_size: int) -> dict[int, float]:
    if len(params.logit_bias) > MAX_BIASES:
        raise RequestError(f"There are at most {MAX_BIASES} biases.", field="sampling.logit_bias")
    for token_id, bias in params.logit_bias.items():
        if not (0 <= token_id < vocab_size and -MAX_BIAS <= bias <= MAX_BIAS):
            message = f"A bias is from -{MAX_BIAS:.0f} to {MAX_BIAS:.0f}, for a token id below {vocab_size}."
            raise RequestError(message, field=f"sampling.logit_bias[{token_id}]")
    return dict(params.logit_bias)


def _json_schema(params: decoder_pb2.SamplingParams) -> str:
    if not params.HasField("response_format"):
        return ""
    wanted = params.response_format
    match wanted.WhichOneof("format"):
        case "json_object":
            form = schema.ANY_OBJECT if wanted.json_object else ""
        case "json_schema":
            form = schema.canonical(wanted.json_schema)
        case _:
            raise RequestError("A format is json_object or json_schema.", field="sampling.response_format")
    for name in ("min_tokens", "ignore_eos"):
        if form and getattr(params, name):
            raise RequestError(f"An answer held to a format ends with it; leave out {name}.", field=f"sampling.{name}")
    return form
