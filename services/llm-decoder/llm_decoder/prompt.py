"""The prompt: a conversation in the model's own template, as token ids.

What is text in a row is encoded as one string, so that merges across the template's text and the user's come out as
they did in training; special tokens and placeholders are only ever ids. Layout of images (arXiv 2502.15803, section
3.2): the global view in its markers, then every slice in its own, rows of slices apart; of sounds (section 3.3): every
window in its markers. Knows no embedding values.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llm_decoder.conversation import Image, Message, Sound, media
from llm_decoder.vocabulary import Vocabulary
from trichord.errors import CheckpointError, ContextLengthError
from trichord.model_config import PromptConfig

ROLE, CONTENT = "{role}", "{content}"


class Span(NamedTuple):
    """A run of placeholders: ``length`` consecutive rows of one embedding."""

    start: int
    """Position in the prompt."""
    length: int
    embedding: int
    """Which embedding of the conversation, from 0."""


@dataclass(frozen=True, eq=False)
class PromptTokens:
    """A prompt as the engine takes it."""

    ids: npt.NDArray[np.int32]
    """Token ids [n]; placeholders where rows of media go."""
    spans: tuple[Span, ...]
    """Where they go, ascending: the rows of all embeddings, one after another, fill the spans in order."""
    num_image_tokens: int
    num_audio_tokens: int

    @property
    def num_tokens(self) -> int:
        """Positions of the context that the prompt takes."""
        return len(self.ids)

    @property
    def num_text_tokens(self) -> int:
        """Text, template and markers."""
        return self.num_tokens - self.num_image_tokens - self.num_audio_tokens

    def context_left(self, context_tokens: int) -> int:
        """Tokens that are left for the answer, at least one. Raises ContextLengthError if there are none."""
        if self.num_tokens + 1 > context_tokens:
            message = f"The prompt has {self.num_tokens} tokens; the model fits {context_tokens}, an answer included."
            raise ContextLengthError(f"{message} Shorten the conversation.", field="messages")
        return context_tokens - self.num_tokens


class _Rows(NamedTuple):
    """A run of placeholders before its position is known."""

    length: int
    embedding: int


_Segment = str | int | _Rows
"""Text, the id of a special token, or placeholders."""


class PromptTemplate:
    """A checkpoint's chat template."""

    def __init__(self, config: PromptConfig, vocabulary: Vocabulary) -> None:
        """Raises CheckpointError naming the config's key if a token is not in the vocabulary."""
        self._config = config
        self._vocabulary = vocabulary
        self._turn = self._compile("turn", config.turn)
        self._answer_opening = self._compile("answer_opening", config.answer_opening)
        if self._turn.count(CONTENT) != 1:
            raise CheckpointError(f"config.json: prompt.turn has {CONTENT} once.")
        self._placeholder = self._special("placeholder", config.placeholder)
        self._image = self._special("image_start", config.image_start), self._special("image_end", config.image_end)
        self._slice = self._special("slice_start", config.slice_start), self._special("slice_end", config.slice_end)
        self._audio = self._special("audio_start", config.audio_start), self._special("audio_end", config.audio_end)
        self.stop_ids = tuple(self._special("stop_tokens", name) for name in config.stop_tokens)
        """Tokens that end the model's turn."""

    def tokens(self, messages: Sequence[Message]) -> PromptTokens:
        """The prompt of a checked conversation, the opening of the answer's turn included."""
        ids, spans = self._encode(self._segments(messages))
        layouts = media(messages)
        return PromptTokens(
            ids=np.asarray(ids, dtype=np.int32),
            spans=tuple(spans),
            num_image_tokens=sum(layout.num_tokens for layout in layouts if isinstance(layout, Image)),
            num_audio_tokens=sum(layout.num_tokens for layout in layouts if isinstance(layout, Sound)),
        )

    def _encode(self, segments: Iterator[_Segment]) -> tuple[list[int], list[Span]]:
        ids: list[int] = []
        spans: list[Span] = []
        for is_text, run in itertools.groupby(segments, lambda segment: isinstance(segment, str)):
            if is_text:
                ids += self._vocabulary.encode("".join(map(str, run)))
                continue
            for segment in run:
                if isinstance(segment, _Rows):
                    spans.append(Span(len(ids), *segment))
                    ids += [self._placeholder] * segment.length
                else:
                    ids.append(int(segment))
        return ids, spans

    def _segments(self, messages: Sequence[Message]) -> Iterator[_Segment]:
        if messages[0].role != "system" and self._config.default_system is not None:
            messages = [Message("system", (self._config.default_system,)), *messages]
        embeddings, sounds = itertools.count(), itertools.count(1)
        for message in messages:
            for piece in self._turn:
                if piece == CONTENT:
                    for part in message.parts:
                        yield from self._part(part, embeddings, sounds)
                else:
                    yield message.role if piece == ROLE else piece
        yield from self._answer_opening

    def _part(self, part: str | Image | Sound, embeddings: Iterator[int], sounds: Iterator[int]) -> Iterator[_Segment]:
        match part:
            case str():
                yield part
            case Image():
                yield from self._image_segments(part, next(embeddings))
            case Sound():
                yield from self._sound_segments(part, next(embeddings), next(sounds))

    def _image_segments(self, image: Image, embedding: int) -> Iterator[_Segment]:
        tile = _Rows(image.tokens_per_tile, embedding)
        yield from _between(self._image, tile)
        for row in range(image.rows):
            if row:
                yield self._config.row_separator
            for _ in range(image.cols):
                yield from _between(self._slice, tile)
        yield self._config.after_image

    def _sound_segments(self, sound: Sound, embedding: int, number: int) -> Iterator[_Segment]:
        yield self._config.before_audio.replace("{k}", str(number))
        for num_tokens in sound.windows:
            yield from _between(self._audio, _Rows(num_tokens, embedding))
        yield self._config.after_audio

    def _compile(self, key: str, template: Sequence[str]) -> list[str | int]:
        """A template's pieces, special tokens as ids and the slots for role and content apart."""
        pieces: list[str | int] = []
        for piece in template:
            if piece in self._vocabulary.special_ids or (piece.startswith("<") and piece.endswith(">")):
                pieces.append(self._special(key, piece))
            else:
                pieces += filter(None, re.split(r"(\{role\}|\{content\})", piece))
        return pieces

    def _special(self, key: str, name: str) -> int:
        if name not in self._vocabulary.special_ids:
            raise CheckpointError(f"config.json: prompt.{key}: {name!r} is not a special token of tokenizer.json.")
        return self._vocabulary.special_ids[name]


def _between(markers: tuple[int, int], rows: _Rows) -> tuple[int, _Rows, int]:
    return markers[0], rows, markers[1]
