"""From a request to the engine's work: every check, template and tokenizer. Plain computation, for any thread.

Knows nothing of gRPC calls or of Triton.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from llm_decoder import conversation, sampling_limits
from llm_decoder.grammar import trial
from llm_decoder.media_rows import MediaGate, MediaRows
from llm_decoder.prompt import PromptTemplate, PromptTokens
from llm_decoder.sampling_limits import Sampling
from llm_decoder.settings import DecoderSettings
from llm_decoder.vocabulary import Vocabulary
from trichord.errors import NotFoundError, RequestError
from trichord.model_config import ModelConfig
from trichord.v1 import decoder_pb2

MAX_SCOPE_CHARS = 128


@dataclass(frozen=True, eq=False)
class Work:
    """A request as the engine takes it."""

    prompt: PromptTokens
    media: MediaRows | None
    """None if there are none."""
    sampling: Sampling
    is_batch: bool = False
    """Whether it gives way to live requests."""
    cache_scope: str = ""
    """Whose prefixes it may share."""


class Intake:
    """Takes the requests of one model."""

    def __init__(
        self, config: ModelConfig, settings: DecoderSettings, vocabulary: Vocabulary, fingerprints: Collection[str]
    ) -> None:
        """Takes the fingerprints of this checkpoint's towers. Raises CheckpointError if config and tokenizer differ."""
        self.config = config
        self.limits = conversation.Limits(
            context_tokens=config.llm.max_position_embeddings,
            tokens_per_tile=config.resampler.num_queries,
            max_images=settings.max_images,
            max_audios=settings.max_audios,
            max_text_bytes=settings.max_text_bytes,
        )
        self.template = PromptTemplate(config.prompt, vocabulary)
        self.media = MediaGate(
            config.llm.hidden_size, settings.dtype or config.dtype, {*fingerprints, *settings.accept_fingerprints}
        )

    def count(self, request: decoder_pb2.CountTokensRequest) -> PromptTokens:
        """The prompt of a conversation, which may be longer than the context unless ``sampling`` is set.

        Raises what ``admit`` raises.
        """
        self._check_model(request.model)
        prompt = self.template.tokens(conversation.parse(request.messages, self.limits))
        if request.HasField("sampling"):
            self._sampling(request.sampling, prompt)
        return prompt

    def admit(self, request: decoder_pb2.GenerateRequest) -> Work:
        """The work of a request. Raises RequestError, ContextLengthError, NotFoundError or FingerprintError."""
        self._check_model(request.model)
        messages = conversation.parse(request.messages, self.limits)
        media = self.media.rows(request.messages, conversation.media(messages))
        prompt = self.template.tokens(messages)
        sampling = self._sampling(request.sampling, prompt)
        is_batch = request.priority == decoder_pb2.PRIORITY_BATCH
        if len(request.cache_scope) > MAX_SCOPE_CHARS:
            raise RequestError(f"A cache scope has at most {MAX_SCOPE_CHARS} characters.", field="cache_scope")
        return Work(prompt, media, sampling, is_batch, request.cache_scope)

    def _sampling(self, params: decoder_pb2.SamplingParams, prompt: PromptTokens) -> Sampling:
        context_left = prompt.context_left(self.limits.context_tokens)
        sampling = sampling_limits.check(params, context_left, self.config.llm.vocab_size)
        if sampling.json_schema:
            trial.check(sampling.json_schema)
        return sampling

    def _check_model(self, name: str) -> None:
        if name not in ("", self.config.model):
            raise NotFoundError(f"This decoder serves {self.config.model!r} only.", field="model")
