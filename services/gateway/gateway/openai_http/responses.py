"""The shapes of what is answered, as JSON: OpenAI's, and ``trichord`` beside them where it was asked for.

Types only; /openapi.json tells them.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

FinishReason = Literal["stop", "length"]


class PromptTokensDetails(TypedDict):
    """Tokens of the prompt by what they stand for; their sum, cached ones aside, is prompt_tokens."""

    text_tokens: int
    image_tokens: int
    audio_tokens: int
    cached_tokens: int


class CompletionTokensDetails(TypedDict):
    """Kinds of generated tokens that this deployment has none of."""

    reasoning_tokens: int
    audio_tokens: int
    accepted_prediction_tokens: int
    rejected_prediction_tokens: int


class Usage(TypedDict):
    """What a request took. Generated tokens include those that ended a turn or were cut off with a stop string."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class TopLogprob(TypedDict):
    """A likely token."""

    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    """The token chosen, and the likeliest."""

    top_logprobs: list[TopLogprob]


class Logprobs(TypedDict):
    """One entry for each token."""

    content: list[TokenLogprob]
    refusal: None


class AnswerMessage(TypedDict):
    """The answer."""

    role: Literal["assistant"]
    content: str
    refusal: None


class Choice(TypedDict):
    """One of n answers."""

    index: int
    message: AnswerMessage
    logprobs: Logprobs | None
    finish_reason: FinishReason


class SkippedMedium(TypedDict):
    """A medium that is not in the prompt, as ``degradation`` allowed."""

    param: str
    reason: str


class Extras(TypedDict, total=False):
    """What OpenAI's API has no place for."""

    skipped: list[SkippedMedium]
    receipt: dict[str, Any]
    """StageReceipt of the gRPC contract."""
    usage: dict[str, Any]
    """Usage of the gRPC contract: it also counts images, tiles, seconds of sound and cache hits."""


class Completion(TypedDict):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: Literal["default"]
    system_fingerprint: str | None
    trichord: NotRequired[Extras]


class Delta(TypedDict, total=False):
    """What is new."""

    role: Literal["assistant"]
    content: str
    refusal: None


class ChunkChoice(TypedDict):
    """Some more of one of n answers."""

    index: int
    delta: Delta
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class Chunk(TypedDict):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    service_tier: Literal["default"]
    system_fingerprint: str | None
    usage: NotRequired[Usage | None]
    obfuscation: NotRequired[str]
    trichord: NotRequired[Extras]


class Model(TypedDict):
    """What is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    context_tokens: int
    max_images: int
    max_audios: int


class ModelList(TypedDict):
    """All that is served."""

    object: Literal["list"]
    data: list[Model]
